/** What iptables adds to a message. */
type Advice = 'help' | 'upgrade';

/** The details of a refusal besides its message. */
export interface IptablesErrorDetails {
  /** 1: what the namespace has does not fit. 2 (the default): the words are wrong. 3: there is no such table. 4: the kernel refused. */
  exitCode?: 1 | 2 | 3 | 4;
  /** The word that is wrong. */
  argument?: string | undefined;
  /** What iptables advises after the message. */
  advice?: Advice;
  /** Of the kind that iptables ends with a full stop and an empty line: a rule about the options of an extension. */
  guided?: true;
  cause?: unknown;
}

/**
 * Words that iptables would refuse. The message is that of iptables 1.8.9 without its name and version.
 * @example
 * try {
 *   await ipt.run('-A INPUT --dport 80');
 * } catch (error) {
 *   if (error instanceof IptablesError) console.log(error.exitCode, error.argument, error.line);
 * }
 */
export class IptablesError extends Error {
  readonly code = 'ERR_IPTABLES';
  /** The exit code of iptables. */
  readonly exitCode: 1 | 2 | 3 | 4;
  /** The word that is wrong, if it is one word. */
  readonly argument: string | undefined;
  /** What iptables advises after the message: to read its help, or to upgrade. */
  readonly advice: Advice | undefined;
  /** A rule about the options of an extension is broken. iptables prints an empty line after such a message. */
  readonly guided: boolean;
  /** The line of a text, from 1 on. */
  line: number | undefined;

  constructor(message: string, details: IptablesErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.exitCode = details.exitCode ?? 2;
    this.argument = details.argument;
    this.advice = details.advice;
    this.guided = details.guided === true;
  }
}
IptablesError.prototype.name = 'IptablesError';
