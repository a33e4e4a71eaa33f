import { describe } from './protocol.js';

const POLL_MS = 500;

/**
 * Waits until a session has ended; show(view) is called at each change. -> what describe() says of it then.
 * `poll` asks twice a second instead of listening. A listener costs one read for each change, and no connection is lost
 * unnoticed: the library opens it again.
 */
export function waitForEnd(ref, { show = () => {}, timeoutSeconds = 600, poll = false } = {}) {
  return new Promise((resolve, reject) => {
    let stop = () => {};
    const over = (settle, value) => {
      clearTimeout(timer);
      stop();
      settle(value);
    };
    const late = new Error(`The edit has not ended within ${timeoutSeconds} s. Its document still tells when it does.`);
    const timer = setTimeout(() => over(reject, late), timeoutSeconds * 1000);
    const look = (snapshot) => {
      if (!snapshot.exists) return over(reject, new Error('The session was deleted.'));
      const view = describe(snapshot.data());
      show(view);
      return view.ended && over(resolve, view);
    };
    const failed = (error) => over(reject, error);
    if (poll) {
      const ask = setInterval(() => ref.get().then(look).catch(failed), POLL_MS);
      stop = () => clearInterval(ask);
    } else {
      stop = ref.onSnapshot(look, failed);
    }
  });
}
