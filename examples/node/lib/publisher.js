/** A `publish` for Sessions, out of a topic of @google-cloud/pubsub. */
export function publisher(topic) {
  return ({ userId, sessionId }) => topic.publishMessage({ data: Buffer.from(JSON.stringify({ userId, sessionId })) });
}
