/// The app's side of a session, by Firebase's SDK: the rules of examples/rules decide what it may do.
library;

import 'dart:math';
import 'dart:typed_data';

import 'package:cloud_firestore/cloud_firestore.dart';
import 'package:cloud_functions/cloud_functions.dart';
import 'package:firebase_storage/firebase_storage.dart';

import 'protocol.dart';

class InpaintClient {
  InpaintClient({
    required this.userId,
    required this.firestore,
    required this.storage,
    required this.functions,
    this.useTrigger = false,
  });

  final String userId; // FirebaseAuth.instance.currentUser!.uid
  final FirebaseFirestore firestore;
  final FirebaseStorage storage;
  final FirebaseFunctions functions;

  /// Ask by writing editRequestId, which the function sessionWritten waits for, instead of calling requestEdit.
  final bool useTrigger;

  DocumentReference<Map<String, dynamic>> _document(String sessionId) => firestore.doc(sessionPath(userId, sessionId));

  /// Makes a session that waits for its pictures; -> its id.
  Future<String> createSession({String? prompt, List<String>? sceneLabels}) async {
    final sessionId = _newId();
    await _document(sessionId).set({
      'processingStatus': Status.pending,
      'createdAt': FieldValue.serverTimestamp(),
      // Our masks are white on black, of the size of the photo as it is shown; said here, nothing has to be guessed.
      'maskKind': 'white',
      'maskOrientation': 'displayed',
      if (prompt != null) 'prompt': prompt,
      if (sceneLabels != null) 'sceneLabels': sceneLabels,
    });
    return sessionId;
  }

  /// Both files, with the share of the bytes that are sent, 0 to 1. A new mask alone is enough for marking again.
  Future<void> upload(String sessionId, {Uint8List? photo, Uint8List? mask, void Function(double)? onProgress}) async {
    final files = {ObjectFile.photo: photo, ObjectFile.mask: mask}.entries.where((file) => file.value != null).toList();
    final total = files.fold<int>(0, (sum, file) => sum + file.value!.length);
    var before = 0;
    for (final MapEntry(key: name, value: data) in files) {
      if (data!.isEmpty || data.length > uploadMaxBytes) {
        throw ArgumentError('$name has ${data.length} bytes; 1 to $uploadMaxBytes are accepted.');
      }
      final metadata = SettableMetadata(contentType: contentType(data));
      final task = storage.ref(objectPath(userId, sessionId, name)).putData(data, metadata);
      final listening = task.snapshotEvents.listen(
        (event) => onProgress?.call((before + event.bytesTransferred) / total),
        onError: (_) {}, // the task itself throws it, below
      );
      try {
        await task;
      } finally {
        await listening.cancel();
      }
      before += data.length;
    }
  }

  /// After both uploads: asks for the edit. Again after a failure, or for another result; twice does no harm.
  Future<void> requestEdit(String sessionId) async {
    if (useTrigger) {
      await _document(sessionId).update({
        'processingStatus': Status.pending,
        'editRequestId': _newId(),
        'errorMessage': FieldValue.delete(),
      });
    } else {
      await functions.httpsCallable('requestEdit').call<void>({'sessionId': sessionId});
    }
  }

  /// A worker that has it notices within a second and writes nothing more. A session that has ended stays as it is: the
  /// rules refuse the write then.
  Future<void> cancel(String sessionId) => _document(sessionId).update({'processingStatus': Status.cancelled});

  /// For a session that the user no longer wants to see; a function removes it with its pictures.
  Future<void> delete(String sessionId) => _document(sessionId).update({'processingStatus': Status.deleted});

  /// Each state of the session, the present one first; ends where the document is gone. Firestore's cache answers at once
  /// after a restart of the app, so a session that is still at work can simply be watched again.
  Stream<SessionView> watch(String sessionId) => _document(sessionId)
      .snapshots()
      .takeWhile((snapshot) => snapshot.exists)
      .map((snapshot) => SessionView.of(snapshot.data()!));

  /// The bytes of edited.jpg or preview.jpg, by the path that the session has.
  Future<Uint8List> download(String path) async => (await storage.ref(path).getData(uploadMaxBytes))!;

  /// 20 random letters and digits.
  static String _newId() {
    const letters = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789';
    final random = Random.secure();
    return List.generate(20, (_) => letters[random.nextInt(letters.length)]).join();
  }
}

/// Cloud Storage keeps it with the object, and storage.rules look at it; the worker itself looks at the bytes.
String contentType(Uint8List data) => switch (data) {
      [0xff, 0xd8, ...] => 'image/jpeg',
      [0x89, 0x50, 0x4e, 0x47, ...] => 'image/png',
      [0x52, 0x49, 0x46, 0x46, ...] => 'image/webp',
      _ => 'image/heic',
    };
