/** The error of a class that a call must throw. */
export function errorOf<E extends Error>(kind: abstract new (...parameters: never[]) => E, call: () => unknown): E {
  try {
    call();
  } catch (error) {
    if (error instanceof kind) return error;
    throw error;
  }
  throw new Error(`this call does not throw ${kind.name}`);
}
