"""Names of the protocol (docs/PROTOCOL.md): where things are, the words of a session, what a failure asks of the user.

The Node and the Flutter example have the same tables; `make examples-test` compares all of them with the document.
"""
import re

TOPIC = "session-processing"

PENDING = "pending"  # waits, or is not asked for yet
PROCESSING = "processing"  # a worker has it
COMPLETED = "completed"
FAILED = "failed"  # errorMessage says why
CANCELLED = "cancelled"  # by the user; the worker stops
DELETED = "deleted"  # the same, and to be cleaned up
ENDED = (COMPLETED, FAILED, CANCELLED, DELETED)

# Fields that the app writes, and no others. The worker writes the rest.
APP_FIELDS = ("processingStatus", "createdAt", "editRequestId", "prompt", "sceneLabels", "maskKind", "maskOrientation")

PHOTO = "original.jpg"  # JPEG, PNG, WebP or HEIC: the content counts, not the name
MASK = "mask_auto.png"
EDITED = "edited.jpg"
PREVIEW = "preview.jpg"

UPLOAD_MAX_BYTES = 64 << 20  # of the photo, and of the mask
PROMPT_MAX_BYTES = 2000

# What the user can do about a failure, by inpaint.errorCode.
REMEDY = {
    "INPUT_MISSING": "upload",  # upload photo and mask again
    "INPUT_NOT_AN_IMAGE": "photo",  # choose another photo
    "INPUT_HEIC_UNSUPPORTED": "photo",
    "INPUT_TOO_LARGE": "photo",
    "INPUT_CORRUPT": "photo",
    "MASK_EMPTY": "mask",  # mark again
    "MASK_FULL": "mask",
    "MASK_SIZE_MISMATCH": "mask",
    "MASK_TOO_LARGE": "mask",
    "MASK_AMBIGUOUS": "mask",
    "PROMPT_INVALID": "prompt",  # word it differently
    "SESSION_UNREADABLE": "new",  # begin a new session
    "ATTEMPTS_EXHAUSTED": "retry",  # the same once more, later
    "NUMERIC_FAULT": "retry",
    "DEADLINE": "retry",
}


def session_path(user_id, session_id):
    return f"users/{user_id}/sessions/{session_id}"


def object_path(user_id, session_id, file):
    return f"{session_path(user_id, session_id)}/{file}"


def is_id(text):
    """Ids of our own. The worker takes more (PROTOCOL.md 1.2), but these need no escaping anywhere."""
    return isinstance(text, str) and bool(re.fullmatch(r"(?!__.*__\Z)[A-Za-z0-9_-]{1,128}", text))


def describe(fields):
    """A session as a screen shows it. `fields` are those of its document."""
    status = fields.get("processingStatus") or PENDING
    status = CANCELLED if status == "canceled" else status
    own = fields.get("inpaint") or {}
    failed, at_work, done = status == FAILED, status == PROCESSING, status == COMPLETED
    code, retryable = own.get("errorCode"), own.get("retryable") is True
    return {
        "status": status,
        "ended": status in ENDED,
        "progress": own.get("progress", 0) if at_work else 100 if done else 0,
        "eta_seconds": own.get("etaSeconds") if at_work else None,
        "edited_image_path": fields.get("editedImagePath") if done else None,
        "preview_image_path": fields.get("previewImagePath") if done else None,
        "message": fields.get("errorMessage", "The edit failed.") if failed else None,
        "error_code": code if failed else None,
        "retryable": failed and retryable,
        "remedy": REMEDY.get(code, "retry" if retryable else "new") if failed else None,
    }
