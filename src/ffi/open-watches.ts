import type { Watch } from './ffi.ts';

/**
 * Keeps the watches of one backend from being collected while they are open, and closes them before the process or worker ends: Node turns the
 * event loop once more when no JavaScript may run any longer, and a watch that is ready then would abort the process.
 */
export class OpenWatches {
  readonly #open = new Set<Watch>();
  #listening = false;

  add(watch: Watch): void {
    if (!this.#listening) {
      this.#listening = true;
      process.once('exit', () => {
        for (const each of this.#open) each.close();
      });
    }
    this.#open.add(watch);
  }

  delete(watch: Watch): void {
    this.#open.delete(watch);
  }
}
