import { printable } from '../errors.ts';

/** The details of a refusal besides its message. */
export interface IptablesErrorDetails {
  /** 1: what the namespace has does not fit. 2 (the default): the words are wrong. 3: there is no such table. 4: the kernel refused. */
  exitCode?: 1 | 2 | 3 | 4;
  /** The word that is wrong. */
  argument?: string | undefined;
  /** A rule about the options of an extension. iptables prints an empty line after these. */
  guided?: true;
  /** iptables prints the message without its own name. */
  bare?: true;
  /** iptables prints its name without its version. */
  brief?: true;
  /** What iptables prints in a line of its own before the message. */
  warning?: string;
  /** iptables prints the message alone behind that, although the line is known. */
  whole?: true;
  /** What was thrown first. */
  cause?: unknown;
}

/** The version of iptables whose messages these are. */
const VERSION = 'v1.8.9 (nf_tables)';
/** Stands in messages for the name that the program was called by. */
export const PROGRAM = '\0';

/**
 * Words that iptables would refuse. The message is that of iptables 1.8.9 without its name and version.
 * @example
 * try {
 *   await ipt.restore('*filter\n-A INPUT --dport 80\nCOMMIT\n');
 * } catch (error) {
 *   if (error instanceof IptablesError) console.log(error.exitCode, error.argument, error.line);
 * }
 */
export class IptablesError extends Error {
  /** The code of the error, for programs. */
  readonly code = 'ERR_IPTABLES';
  /** The exit code of iptables. */
  readonly exitCode: 1 | 2 | 3 | 4;
  /** The word that is wrong, if it is one word. */
  readonly argument: string | undefined;
  /** The line of a text, from 1 on. */
  line: number | undefined;
  /** What iptables has said before. */
  warnings: readonly string[] = [];
  readonly #printed: string;
  readonly #warning: string;
  readonly #prefix: 'version' | 'name' | 'none';
  readonly #whole: boolean;

  constructor(message: string, details: IptablesErrorDetails = {}) {
    const lines = message.replaceAll(PROGRAM, 'iptables-restore').trim().split('\n').map(printable);
    super(lines.join('\n'), details.cause === undefined ? undefined : { cause: details.cause });
    this.exitCode = details.exitCode ?? 2;
    this.argument = details.argument;
    this.#printed = details.guided === true ? `${message}\n` : message;
    this.#warning = details.warning === undefined ? '' : `${details.warning}\n`;
    this.#whole = details.whole === true;
    this.#prefix = details.bare ? 'none' : details.brief ? 'name' : 'version';
  }

  /**
   * Returns all that iptables prints of this error, with its advice to read the help.
   * @param program the name that iptables was called by
   * @example
   * const error = new IptablesError('unknown option "--dport"');
   * process.stderr.write(error.text());
   */
  text(program = 'iptables'): string {
    return this.warnings.map(warning => `${warning}\n`).join('') + this.#refusal(program);
  }

  #refusal(program: string): string {
    const printed = this.#printed.replaceAll(PROGRAM, program);
    const beginning =
      this.#prefix === 'version' ? `${program} ${VERSION}: ` : this.#prefix === 'name' ? `${program}: ` : '';
    if (this.#prefix === 'name' && this.line !== undefined && !this.#whole)
      return `${program}: line ${this.line} failed: ${printed.replace(" Run `dmesg' for more information.", '')}\n`;
    const message = printed === '' ? '' : `${this.#warning}${beginning}${printed}\n`;
    const at = this.line === undefined ? '' : `Error occurred at line: ${this.line}\n`;
    if (this.exitCode === 2)
      return `${message}${at}Try \`${program} -h' or '${program} --help' for more information.\n`;
    if (this.exitCode === 3) return `${message}Perhaps ${program} or your kernel needs to be upgraded.\n`;
    return message;
  }
}
IptablesError.prototype.name = 'IptablesError';
