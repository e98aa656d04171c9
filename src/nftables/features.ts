import { NetlinkError } from '../errors.ts';
import * as C from '../linux/netfilter.ts';
import { NFTA_TABLE_NAME } from '../linux/nf_tables.ts';
import type { Exchange, Operation } from '../netlink/index.ts';
import { writeHeader } from '../netlink/index.ts';
import { MESSAGES } from '../nf_tables/message.ts';

/** Longer than any name: a kernel that knows the message refuses this before anything else. */
const TOO_LONG = 'x'.repeat(300);

/** The abilities of the kernel behind one socket. Each is found out once, when it first matters. */
export class Features {
  /** The kernel acknowledges the end of a batch, after the commit (6.10 or so): the first commit shows it. */
  acknowledgesEnd: boolean | undefined;
  #destroys: boolean | undefined;

  /**
   * Whether the kernel knows NFT_MSG_DESTROY* (6.3). Outside of a batch it refuses the message either way, in microseconds and without touching a
   * table: EINVAL means that it does not know the type, ERANGE that it does and refuses the attribute. In a batch a refusal would make it wait for
   * all processors.
   */
  *destroys(exchange: Exchange): Operation<boolean> {
    if (this.#destroys !== undefined) return this.#destroys;
    const { number, kernelName } = MESSAGES.destroytable;
    try {
      yield* exchange.request({
        type: number,
        syscall: kernelName,
        write: writer => {
          writeHeader(writer, C.NFPROTO_IPV4, 0);
          const start = writer.beginAttribute(NFTA_TABLE_NAME);
          writer.string(TOO_LONG);
          writer.endAttribute(start);
        },
      });
    } catch (error) {
      if (!(error instanceof NetlinkError) || !['ERANGE', 'EINVAL'].includes(error.code)) throw error;
      this.#destroys = error.code === 'ERANGE';
    }
    return this.#destroys ?? true;
  }
}
