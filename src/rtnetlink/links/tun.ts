import fs from 'node:fs';
import { attribute, attributes, type Infer, named, opt, U8, u32ne } from '../../codec/index.ts';
import { NetlinkError } from '../../errors.ts';
import { ffi } from '../../ffi/index.ts';
import { IFNAMSIZ } from '../../linux/if.ts';
import * as C from '../../linux/if_link.ts';
import * as Tun from '../../linux/if_tun.ts';
import type { NetNs } from '../../netns/netns.ts';
import { BOOLEAN, quote } from '../device.ts';
import { LinkKind, type SettingsOf } from './kind.ts';
import type { NewLink } from './settings.ts';

/** IFLA_INFO_DATA of a tun or tap device (drivers/net/tun.c; Linux 4.17). */
const TUN = attributes('IFLA_TUN', () => ({
  /** 'tun' carries IP packets, 'tap' carries Ethernet frames. */
  mode: opt(attribute(C.IFLA_TUN_TYPE, named(U8, { tun: Tun.IFF_TUN, tap: Tun.IFF_TAP } as const))),
  /** The number of the user that may open the device. A user with CAP_NET_ADMIN may open it, too. */
  owner: opt(u32ne(C.IFLA_TUN_OWNER)),
  /** The number of the group whose users may open the device. */
  ownerGroup: opt(u32ne(C.IFLA_TUN_GROUP)),
  /** Each packet has a header of flags and protocol (struct tun_pi). Default false. */
  packetInformation: opt(attribute(C.IFLA_TUN_PI, BOOLEAN)),
  /** Each packet has a header about offloads (struct virtio_net_hdr). Default false. */
  offloadHeader: opt(attribute(C.IFLA_TUN_VNET_HDR, BOOLEAN)),
  /** The device stays when no program has it open. All devices that this library creates do. */
  persistent: opt(attribute(C.IFLA_TUN_PERSIST, BOOLEAN)),
  /** Several programs, or threads, may open the device at the same time. Default false. */
  multiQueue: opt(attribute(C.IFLA_TUN_MULTI_QUEUE, BOOLEAN)),
  /** How often the device is open, with `multiQueue`. */
  queues: opt(u32ne(C.IFLA_TUN_NUM_QUEUES)),
  /** How many queues are switched off. Read only. */
  disabledQueues: opt(u32ne(C.IFLA_TUN_NUM_DISABLED_QUEUES)),
}));
/** The settings of a tun or tap device, as the kernel reports them. */
export type TunDevice = Infer<typeof TUN>;

/** A new tun or tap device, whose other end a program uses. It is persistent: it stays until it is removed. */
export type NewTun = NewLink & SettingsOf<'tun', TunDevice>;

export const tun = new LinkKind<'tun', NewTun, TunDevice>({
  name: 'tun',
  data: TUN,
  readOnly: ['persistent', 'queues', 'disabledQueues'],
  defaults: { mode: 'tun' },
  fixed: ['mode', 'owner', 'ownerGroup', 'packetInformation', 'offloadHeader', 'multiQueue'],
  madeBy: 'ioctl',
});

/** `struct ifreq` of a 64-bit kernel: the name, 16 bytes, then 16 bits of flags. */
const IFREQ_LENGTH = 40;
const DEVICE = '/dev/net/tun';

/** Makes a persistent device through ioctl, because rtnetlink cannot (drivers/net/tun.c, tun_validate). */
export function makeTun(netns: NetNs, name: string, settings: TunDevice, operation: string, subject: object): void {
  const fail = (error: { errno: number }, syscall: string, hint?: string) =>
    new NetlinkError({
      errno: error.errno,
      syscall,
      operation,
      subject,
      path: [],
      ...(hint !== undefined && { hint }),
    });
  let fd: number;
  try {
    // The device belongs to the namespace in which /dev/net/tun is opened.
    fd = netns.run(() => fs.openSync(DEVICE, 'r+'));
  } catch (error) {
    const { code, errno } = error as NodeJS.ErrnoException;
    if (errno === undefined || code === undefined) throw error;
    throw fail({ errno }, 'open', `${DEVICE} is missing here, or the module tun on the host`);
  }
  try {
    const bit = (set: boolean | undefined, value: number) => (set === true ? value : 0);
    const request = new Uint8Array(IFREQ_LENGTH);
    request.set(new TextEncoder().encode(name).subarray(0, IFNAMSIZ - 1));
    new Uint16Array(request.buffer, IFNAMSIZ, 1)[0] =
      (settings.mode === 'tap' ? Tun.IFF_TAP : Tun.IFF_TUN) |
      Tun.IFF_TUN_EXCL |
      bit(settings.packetInformation !== true, Tun.IFF_NO_PI) |
      bit(settings.offloadHeader, Tun.IFF_VNET_HDR) |
      bit(settings.multiQueue, Tun.IFF_MULTI_QUEUE);
    const check = (errno: number, what: string, hint?: string) => {
      if (errno < 0) throw fail({ errno }, `ioctl(${what})`, hint);
    };
    check(ffi().ioctl(fd, Tun.TUNSETIFF, request), 'TUNSETIFF', `there may be a device named ${quote(name)}`);
    const { owner, ownerGroup } = settings;
    if (owner !== undefined) check(ffi().ioctlInt(fd, Tun.TUNSETOWNER, owner), 'TUNSETOWNER');
    if (ownerGroup !== undefined) check(ffi().ioctlInt(fd, Tun.TUNSETGROUP, ownerGroup), 'TUNSETGROUP');
    check(ffi().ioctlInt(fd, Tun.TUNSETPERSIST, 1), 'TUNSETPERSIST');
  } finally {
    fs.closeSync(fd);
  }
}
