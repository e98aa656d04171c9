import { spawnSync } from 'node:child_process';
import { fromHex, sourceOf } from '../../src/codec/index.ts';
import { NETLINK_NETFILTER, NLMSG_ERROR } from '../../src/linux/netlink.ts';
import { Exchange, messagesIn, NetlinkSocket, readAck } from '../../src/netlink/index.ts';
import { NetNs } from '../../src/netns/index.ts';
import { decodeMessage, encodeMessage, Nftables, type Ruleset, Transaction } from '../../src/nftables/index.ts';
import { RecordingSocket } from './batch.ts';

/** A namespace that is emptied after each case. */
export class Place {
  readonly netns: NetNs;
  readonly nft: Nftables;
  readonly #sender: RecordingSocket;
  readonly #socket: NetlinkSocket;
  readonly #buffer = sourceOf(new Uint8Array(128 * 1024));

  /** @param netns a namespace of its own; one of the kernel by default */
  constructor(netns = NetNs.create()) {
    this.netns = netns;
    this.#sender = new RecordingSocket({ netns, protocol: NETLINK_NETFILTER });
    this.nft = new Nftables(new Exchange(this.#sender, 'nftables'));
    this.#socket = new NetlinkSocket({ netns, protocol: NETLINK_NETFILTER });
  }

  /** The batches that `nft` has sent. */
  get batches(): Uint8Array[] {
    return this.#sender.batches;
  }

  empty(): void {
    this.nft.sync.commit(new Transaction().flush({ ruleset: {} }));
  }

  /** Sends a recorded batch as it is; true where the kernel took all of it. */
  replay(hex: string): boolean {
    return this.refusals(hex).length === 0;
  }

  /** Sends a recorded batch as it is. Returns what the kernel refuses: the message by its sequence number, the errno and the place. */
  refusals(hex: string): string[] {
    const bytes = withoutGeneration(fromHex(hex)!);
    this.#socket.reserve(bytes.length, 1000);
    const sent = this.#socket.send(bytes, bytes.length);
    if (sent < 0) return [`send: ${sent}`];
    const refused: string[] = [];
    for (;;) {
      const length = this.#socket.receive(this.#buffer.bytes);
      if (length < 0) return refused;
      for (const message of messagesIn(this.#buffer, 0, length)) {
        if (message.type !== NLMSG_ERROR) continue;
        const { errno, offset } = readAck(message);
        if (errno !== 0) refused.push(`${message.sequence}: ${errno}${offset === undefined ? '' : ` at ${offset}`}`);
      }
    }
  }

  ruleset(): Ruleset {
    return this.nft.sync.ruleset({ elements: true });
  }

  text(): string {
    const { stdout } = this.netns.run(() => spawnSync('nft', ['list', 'ruleset'], { encoding: 'utf8' }));
    // nft numbers anonymous chains by the kernel's count of all that there ever were.
    return stdout;
  }

  async close(): Promise<void> {
    await this.nft[Symbol.asyncDispose]();
    await this.#socket.close();
    this.netns.close();
  }
}

/** iptables binds its batches to the generation that it found. */
function withoutGeneration(bytes: Uint8Array): Uint8Array {
  const messages = [...messagesIn(sourceOf(bytes))].map(({ start, end }) => {
    const message = decodeMessage(bytes.subarray(start, end));
    return message.type === 'batch-begin'
      ? encodeMessage({ ...message, object: {} })
      : bytes.subarray(start, (end + 3) & ~3);
  });
  return Buffer.concat(messages);
}
