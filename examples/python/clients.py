"""Google's clients for a script. Emulators are found by the usual variables: FIRESTORE_EMULATOR_HOST, STORAGE_EMULATOR_HOST,
PUBSUB_EMULATOR_HOST."""
import os

from google.auth.credentials import AnonymousCredentials
from google.cloud import firestore, pubsub_v1, storage
from google.cloud.firestore_v1.services.firestore import FirestoreClient
from google.cloud.firestore_v1.services.firestore.transports.rest import FirestoreRestTransport
from google.pubsub_v1.services.publisher.transports.rest import PublisherRestTransport


def open_clients(project, bucket_name, topic_name, rest=False):
    """-> (db, bucket, publish) for Sessions. `rest`: HTTP instead of gRPC, for the cloud of `make demo` alone."""
    if rest:
        db, publisher = over_rest(project)
    else:
        db, publisher = firestore.Client(project=project), pubsub_v1.PublisherClient()
    emulated = "STORAGE_EMULATOR_HOST" in os.environ
    store = storage.Client(project=project, credentials=AnonymousCredentials()) if emulated else storage.Client(project=project)
    topic = f"projects/{project}/topics/{topic_name}"
    return db, store.bucket(bucket_name), lambda data: publisher.publish(topic, data).result(timeout=60)


def over_rest(project):
    """The library has a REST transport for Firestore, but no setting that chooses it; so it is put in place by hand, under
    a private name. A server of yours has no need for that."""
    def there(variable):
        return {"host": os.environ.pop(variable), "url_scheme": "http", "credentials": AnonymousCredentials()}

    db = firestore.Client(project=project, credentials=AnonymousCredentials())
    db._firestore_api_internal = FirestoreClient(transport=FirestoreRestTransport(**there("FIRESTORE_EMULATOR_HOST")))
    return db, pubsub_v1.PublisherClient(transport=PublisherRestTransport(**there("PUBSUB_EMULATOR_HOST")))
