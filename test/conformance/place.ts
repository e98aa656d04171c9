import { spawnSync } from 'node:child_process';
import { fromHex, HOST_IS_LITTLE_ENDIAN, sourceOf } from '../../src/codec/index.ts';
import { NETLINK_NETFILTER, NLMSG_ERROR } from '../../src/linux/netlink.ts';
import { Exchange, messagesIn, NetlinkSocket } from '../../src/netlink/index.ts';
import { NetNs } from '../../src/netns/index.ts';
import { decodeMessage, encodeMessage, Nftables, type Ruleset, Transaction } from '../../src/nftables/index.ts';
import { RecordingSocket } from './batch.ts';

/** A namespace that is emptied after each case. */
export class Place {
  readonly netns = NetNs.create();
  readonly #sender = new RecordingSocket({ netns: this.netns, protocol: NETLINK_NETFILTER });
  readonly nft = new Nftables(new Exchange(this.#sender, 'nftables'));
  readonly #socket = new NetlinkSocket({ netns: this.netns, protocol: NETLINK_NETFILTER });
  readonly #buffer = sourceOf(new Uint8Array(128 * 1024));

  /** The batches that `nft` has sent. */
  get batches(): Uint8Array[] {
    return this.#sender.batches;
  }

  empty(): void {
    this.nft.sync.commit(new Transaction().flush({ ruleset: {} }));
  }

  /** Sends a recorded batch as it is; true where the kernel took all of it. */
  replay(hex: string): boolean {
    const bytes = withoutGeneration(fromHex(hex)!);
    this.#socket.reserve(bytes.length, 1000);
    if (this.#socket.send(bytes, bytes.length) < 0) return false;
    let refused = false;
    for (;;) {
      const length = this.#socket.receive(this.#buffer.bytes);
      if (length < 0) return !refused;
      for (const { type, payload } of messagesIn(this.#buffer, 0, length))
        refused ||= type === NLMSG_ERROR && this.#buffer.view.getInt32(payload, HOST_IS_LITTLE_ENDIAN) !== 0;
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
