/// Names of the protocol (docs/PROTOCOL.md): where things are, the words of a session, what a failure asks of the user.
/// The Node and the Python example have the same tables; `make examples-test` compares all of them with the document.
library;

abstract final class Status {
  static const pending = 'pending'; // waits, or is not asked for yet
  static const processing = 'processing'; // a worker has it
  static const completed = 'completed';
  static const failed = 'failed'; // errorMessage says why
  static const cancelled = 'cancelled'; // by the user; the worker stops
  static const deleted = 'deleted'; // the same, and to be cleaned up
}

/// Fields that the app writes, and no others. The worker writes the rest.
const appFields = [
  'processingStatus', 'createdAt', 'editRequestId', 'prompt', 'sceneLabels', 'maskKind', 'maskOrientation', //
];

abstract final class ObjectFile {
  static const photo = 'original.jpg'; // JPEG, PNG, WebP or HEIC: the content counts, not the name
  static const mask = 'mask_auto.png';
  static const edited = 'edited.jpg';
  static const preview = 'preview.jpg';
}

const uploadMaxBytes = 64 * 1024 * 1024; // of the photo, and of the mask
const promptMaxBytes = 2000;

/// What the user can do about a failure.
enum Remedy { upload, photo, mask, prompt, start, retry }

/// By inpaint.errorCode.
const remedies = {
  'INPUT_MISSING': Remedy.upload, // upload photo and mask again
  'INPUT_NOT_AN_IMAGE': Remedy.photo, // choose another photo
  'INPUT_HEIC_UNSUPPORTED': Remedy.photo,
  'INPUT_TOO_LARGE': Remedy.photo,
  'INPUT_CORRUPT': Remedy.photo,
  'MASK_EMPTY': Remedy.mask, // mark again
  'MASK_FULL': Remedy.mask,
  'MASK_SIZE_MISMATCH': Remedy.mask,
  'MASK_TOO_LARGE': Remedy.mask,
  'MASK_AMBIGUOUS': Remedy.mask,
  'PROMPT_INVALID': Remedy.prompt, // word it differently
  'SESSION_UNREADABLE': Remedy.start, // begin a new session
  'ATTEMPTS_EXHAUSTED': Remedy.retry, // the same once more, later
  'NUMERIC_FAULT': Remedy.retry,
  'DEADLINE': Remedy.retry,
};

String sessionPath(String userId, String sessionId) => 'users/$userId/sessions/$sessionId';

String objectPath(String userId, String sessionId, String file) => '${sessionPath(userId, sessionId)}/$file';

/// A session as a screen shows it.
class SessionView {
  const SessionView({
    required this.status,
    this.progress = 0,
    this.etaSeconds,
    this.editedImagePath,
    this.previewImagePath,
    this.message,
    this.errorCode,
    this.retryable = false,
    this.remedy,
  });

  /// Of the fields of its document.
  factory SessionView.of(Map<String, dynamic> fields) {
    final word = fields['processingStatus'] as String? ?? Status.pending;
    final status = word == 'canceled' ? Status.cancelled : word;
    final own = fields['inpaint'] as Map<String, dynamic>? ?? const {};
    final code = own['errorCode'] as String?;
    final retryable = own['retryable'] == true;
    return switch (status) {
      Status.processing => SessionView(
          status: status,
          progress: (own['progress'] as num? ?? 0).toInt(),
          etaSeconds: (own['etaSeconds'] as num?)?.toDouble(),
        ),
      Status.completed => SessionView(
          status: status,
          progress: 100,
          editedImagePath: fields['editedImagePath'] as String?,
          previewImagePath: fields['previewImagePath'] as String?,
        ),
      Status.failed => SessionView(
          status: status,
          message: fields['errorMessage'] as String? ?? 'The edit failed.',
          errorCode: code,
          retryable: retryable,
          remedy: remedies[code] ?? (retryable ? Remedy.retry : Remedy.start),
        ),
      _ => SessionView(status: status),
    };
  }

  final String status;
  final int progress; // 0 to 100
  final double? etaSeconds; // only while a worker paints
  final String? editedImagePath;
  final String? previewImagePath;
  final String? message; // for the user, of a failure
  final String? errorCode;
  final bool retryable; // whether asking again, without any change, can help
  final Remedy? remedy;

  bool get atWork => status == Status.pending || status == Status.processing;
}
