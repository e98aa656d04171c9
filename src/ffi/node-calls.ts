type Done = (error: NodeJS.ErrnoException | null, result?: number) => void;

const EIO = -5;

/** The negative errno of what a call of Node's threw. */
export const errnoOf = (error: unknown): number => (error as NodeJS.ErrnoException).errno ?? EIO;

/** A call of Node's, with its result or the negative errno. */
export function settled(call: (done: Done) => void): Promise<number> {
  return new Promise(resolve => {
    call((error, result = 0) => resolve(error === null ? result : errnoOf(error)));
  });
}
