import { attributes, NO_CONTEXT, opt, S32_NE, string, struct, U8, U16_NE, U32_NE } from '../codec/index.ts';
import { NetlinkError, StateError } from '../errors.ts';
import { Exchange, type Operation, type Wire } from '../transport/index.ts';
import { runNow } from '../transport/operation.ts';
import { IFLA_IFNAME, RTM_GETLINK } from './constants.ts';

/** Names change (a container's eth0 was a veth of another name a moment ago): what is older than this is asked again. */
const TRUSTED_MICROSECONDS = 1_000_000;

/** A container can make devices for ever, each with an index of its own. */
const MAX_KNOWN = 4096;

/** `struct ifinfomsg` (include/uapi/linux/rtnetlink.h). */
const ifinfomsg = struct('ifinfomsg', {
  ifi_family: [1, U8],
  _ifi_pad: [1, U8],
  ifi_type: [2, U16_NE],
  ifi_index: [4, S32_NE],
  ifi_flags: [4, U32_NE],
  ifi_change: [4, U32_NE],
});

const linkTable = attributes('IFLA', { name: opt(string(IFLA_IFNAME, 15)) });

/** Where packets find out about their devices. */
export interface DeviceNames {
  /** The device's name at `atMicroseconds` or a little before, or undefined where it has none (any more). */
  nameOf(index: number, atMicroseconds: number): string | undefined;
  /** ARPHRD_* of its link layer. */
  typeOf?(index: number, atMicroseconds: number): number | undefined;
}

interface Device {
  readonly name?: string | undefined;
  readonly type?: number | undefined;
}

/** The names of one namespace's devices, asked of the kernel one by one when a packet is first asked for them: some 6 µs each. */
export class Devices implements DeviceNames {
  readonly #exchange: Exchange;
  readonly #known = new Map<number, Device & { asOf: number }>();

  constructor(wire: Wire) {
    this.#exchange = new Exchange(wire, 'nflog');
    this.#exchange.operation = 'nflog.device';
  }

  nameOf(index: number, atMicroseconds: number): string | undefined {
    return this.#deviceOf(index, atMicroseconds).name;
  }

  typeOf(index: number, atMicroseconds: number): number | undefined {
    return this.#deviceOf(index, atMicroseconds).type;
  }

  #deviceOf(index: number, atMicroseconds: number): Device {
    const known = this.#known.get(index);
    if (known !== undefined && atMicroseconds - known.asOf < TRUSTED_MICROSECONDS) return known;
    let device: Device = known ?? {};
    try {
      device = runNow(this.#ask(index)) ?? device;
    } catch (error) {
      // Gone, or the log is closed: the last name it had is the best there is. Nothing here is worth failing a packet for.
      if (!(error instanceof NetlinkError || error instanceof StateError)) throw error;
    }
    const { name, type } = device;
    const found = { name, type, asOf: atMicroseconds };
    if (this.#known.size >= MAX_KNOWN) this.#known.clear();
    this.#known.set(index, found);
    return found;
  }

  *#ask(index: number): Operation<Device | undefined> {
    const call = {
      type: RTM_GETLINK,
      syscall: 'RTM_GETLINK',
      write: (writer: Parameters<typeof ifinfomsg.write>[0]) =>
        ifinfomsg.write(writer, { ifi_family: 0, ifi_type: 0, ifi_index: index | 0, ifi_flags: 0, ifi_change: 0 }),
    };
    return yield* this.#exchange.get(call, ({ source, payload, end }) => {
      const name = linkTable.read(source, payload + ifinfomsg.size, end, NO_CONTEXT)?.name;
      return { name, type: ifinfomsg.read(source, payload, end)?.ifi_type };
    });
  }

  close(): void {
    void this.#exchange.wire.close();
  }
}
