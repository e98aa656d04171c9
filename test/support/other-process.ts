import { type ChildProcess, spawn } from 'node:child_process';
import { compiledSources } from './compiled.ts';

/** Another process that does something again and again while a test goes on. */
export class OtherProcess {
  readonly #child: ChildProcess;
  readonly #ended: Promise<number | null>;
  #said = '';

  /** A command; its standard error is kept for whoever asks why it ended. */
  constructor(
    command: string,
    parameters: readonly string[],
    options: { cwd?: string; env?: Record<string, string> } = {},
  ) {
    this.#child = spawn(command, parameters, {
      stdio: ['ignore', 'pipe', 'pipe'],
      ...(options.cwd !== undefined && { cwd: options.cwd }),
      env: { ...process.env, NODE_OPTIONS: '', ...options.env },
    });
    this.#ended = new Promise(resolve => this.#child.once('close', resolve));
    for (const stream of [this.#child.stdout!, this.#child.stderr!]) {
      stream.on('data', chunk => {
        this.#said += chunk;
      });
    }
  }

  /** A program among the compiled sources, as an ES module. */
  static netsteer(program: string, env: Record<string, string> = {}): OtherProcess {
    return new OtherProcess(process.execPath, ['--input-type=module', '--eval', program], {
      cwd: compiledSources(),
      env,
    });
  }

  get said(): string {
    return this.#said;
  }

  get running(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  /** Resolves when it has printed this; throws where it ends before. */
  async says(text: string): Promise<void> {
    while (!this.#said.includes(text)) {
      if (!this.running) throw new Error(`it has ended: ${this.#said}`);
      await new Promise<void>(resolve => {
        this.#child.stdout!.once('data', () => resolve());
        this.#child.once('close', () => resolve());
      });
    }
  }

  /** Sends a signal, and does not wait. */
  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  /** Asks it to end, and resolves to what it printed. Where it had ended by itself badly, that is an error. */
  async end(signal: NodeJS.Signals = 'SIGTERM'): Promise<string> {
    if (this.#child.exitCode !== null && this.#child.exitCode !== 0)
      throw new Error(`it had ended with ${this.#child.exitCode}: ${this.#said}`);
    this.#child.kill(signal);
    await this.#ended;
    return this.#said;
  }

  /** Resolves when it has ended by itself. */
  async done(): Promise<string> {
    const code = await this.#ended;
    if (code !== 0) throw new Error(`it ended with ${code}: ${this.#said}`);
    return this.#said;
  }
}
