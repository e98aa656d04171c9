import { Session } from 'node:inspector';

interface Range {
  count: number;
}
interface Coverage {
  result: { url: string; functions: { ranges: Range[] }[] }[];
}

/** As tests import it, or in the bundle with the program that fuzzes. */
const LIBRARY = /\/(src|build)\/.+\.[jt]s$/;

/**
 * Which parts of the library have run: V8's own block coverage, which says of each part once that it has. jazzer.js, which would do this, has no
 * binary for glibc before 2.38.
 */
export class BlockCoverage {
  readonly #session = new Session();

  constructor() {
    this.#session.connect();
    this.#post('Profiler.enable');
    this.#post('Profiler.startPreciseCoverage', { callCount: false, detailed: true });
    this.isNew();
  }

  /** Has something run since the last time that never had before? */
  isNew(): boolean {
    const { result } = this.#post('Profiler.takePreciseCoverage') as Coverage;
    return result.some(({ url, functions }) => LIBRARY.test(url) && functions.length > 0);
  }

  /** Commands of this domain are answered before they return. */
  #post(method: string, parameters: object = {}): unknown {
    let answer: unknown;
    this.#session.post(method, parameters, (error, result) => {
      if (error) throw error;
      answer = result;
    });
    return answer;
  }

  close(): void {
    this.#post('Profiler.stopPreciseCoverage');
    this.#session.disconnect();
  }
}
