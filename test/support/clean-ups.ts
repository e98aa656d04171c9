import { afterEach } from 'vitest';

/** What is undone after a test, the last first. */
export class CleanUps {
  readonly #steps: (() => unknown)[] = [];

  add(...steps: (() => unknown)[]): void {
    this.#steps.push(...steps);
  }

  async run(): Promise<void> {
    for (const step of this.#steps.splice(0).reverse()) await step();
  }
}

/** Those of each test of a file: they run after it. */
export function cleanUpsOfEach(): CleanUps {
  const cleanUps = new CleanUps();
  afterEach(() => cleanUps.run());
  return cleanUps;
}
