import { checkObject } from '../../codec/index.ts';
import { oneOf, rangeError, typeError } from '../../errors.ts';
import { RTM_DELLINK, RTM_GETLINK } from '../../linux/rtnetlink.ts';
import type { Exchange, Operation } from '../../netlink/index.ts';
import { checkDevice, missing } from '../device.ts';
import { Devices, type ListOptions, nameAttribute } from '../devices.ts';
import { dump, request } from '../request.ts';
import type { NewBond } from './bond.ts';
import type { NewBridge } from './bridge.ts';
import { changeLink, createLink, type LinkContext, readOne } from './change.ts';
import type { NewIpvlan } from './ipvlan.ts';
import type { NewLinkOfKind, NewRawLink, NewTunnel } from './kinds.ts';
import { LINK_HEADER, LINKS, type Link, type LinkChanges, type LinkKinds } from './link.ts';
import type { NewMacvlan } from './macvlan.ts';
import type { NewLink } from './settings.ts';
import type { NewTun } from './tun.ts';
import type { NewVeth } from './veth.ts';
import type { NewVlan } from './vlan.ts';
import type { NewVrf } from './vrf.ts';
import type { NewVxlan } from './vxlan.ts';

const TUNNELS = ['gre', 'ip6gre', 'ip6tnl', 'ipip', 'sit', 'wireguard'];

/** The operations on devices. Each is written once and runs both synchronously and asynchronously. */
export class DeviceOperations {
  readonly #context: LinkContext;

  constructor(exchange: Exchange, kinds: LinkKinds = LINKS) {
    const contextOf = (own: Exchange): LinkContext => ({
      exchange: own,
      devices: new Devices(own),
      kinds,
      elsewhere: contextOf,
    });
    this.#context = contextOf(exchange);
  }

  /**
   * Lists all devices of the namespace, lo first.
   *
   * Names come from the kernel unchanged. They may contain control characters, because a container's root chooses them.
   *
   * @param options `signal`
   * @throws NetlinkError the kernel refuses the request
   * @example
   * for (const link of await links.list()) console.log(link.index, link.name, link.kind, link.up);
   */
  *list(options: ListOptions = {}): Operation<Link[]> {
    checkObject(options, [], ['signal']);
    const { exchange, kinds } = this.#context;
    const call = { syscall: 'RTM_GETLINK', type: RTM_GETLINK, header: LINK_HEADER };
    const found = yield* dump(exchange, kinds.messages, call);
    const names = new Map(found.map(([header, { name }]) => [header.ifi_index, name]));
    return found.map(([header, attributes]) => kinds.read(header, attributes, index => names.get(index)));
  }

  /**
   * Reads one device.
   *
   * @param name its name, or an alternative name of more than 15 bytes (Linux 5.5)
   * @throws NetlinkError ENODEV there is no device with that name
   * @example
   * const { mtu, statistics } = await links.get('eth0');
   * console.log(mtu, statistics?.rx_packets);
   */
  *get(name: string): Operation<Link> {
    return yield* readOne(this.#context, checkDevice(name, ['name']));
  }

  /**
   * Creates a device of any kind that this library knows, or of another one with its raw data in `kindData`.
   *
   * A link that was read is accepted, even for another namespace: fields that only the kernel sets are ignored. If the kernel refuses a
   * part of it, or ignores a setting, the device is removed again.
   *
   * @param options the `kind`, the fields of every device (`name`, `netns`, `mtu`, `address`, `up`, `master` ...), and those of the kind.
   * The fields of the kind stand in the field with its name, or beside the others.
   * @throws TypeError, RangeError with the path: a field is wrong, or there is no such kind
   * @throws NetlinkError EEXIST the name is taken, ENODEV there is no such device below, EOPNOTSUPP the kernel has no such kind
   * @example
   * await links.create({ kind: 'macvlan', name: 'mv0', link: 'eth0', mode: 'private', up: true });
   */
  *create(options: NewLinkOfKind | NewRawLink | Link): Operation<void> {
    if (typeof options !== 'object' || options === null) throw typeError([], 'an object', options);
    const { kind, ...fields } = options;
    yield* createLink(this.#context, kind as string, fields as NewLink, options);
  }

  /**
   * Creates a pair of devices: a packet sent into one comes out of the other.
   *
   * Each end may be in a different namespace from the start. The peer is switched off at first.
   *
   * @param options `name` and `peer: { name }`; both ends may have `netns`, `mtu` in bytes (from 68) and `address`
   * @throws NetlinkError EEXIST one of the names is taken, EPERM CAP_NET_ADMIN is missing in one of the namespaces
   * @example
   * await links.createVeth({ name: 'web1', up: true, peer: { name: 'eth0', netns } });
   */
  *createVeth(options: NewVeth): Operation<void> {
    yield* createLink(this.#context, 'veth', options, options);
  }

  /**
   * Creates a bridge, which is a switch. Its ports are the devices whose `master` is the bridge.
   *
   * @param options `name`; `bridge` has its settings, with times in hundredths of a second
   * @throws NetlinkError EEXIST the name is taken, EOPNOTSUPP the kernel lacks bridges or this setting
   * @example
   * await links.createBridge({ name: 'br0', up: true, bridge: { forwardDelayCentiseconds: 200 } });
   * await links.createVeth({ name: 'web1', master: 'br0', up: true, peer: { name: 'eth0', netns } });
   */
  *createBridge(options: NewBridge): Operation<void> {
    yield* createLink(this.#context, 'bridge', options, options);
  }

  /**
   * Creates a device that drops all packets sent to it. It can hold addresses that belong to no other device.
   *
   * @param options `name`, and the fields of every device
   * @throws NetlinkError EEXIST the name is taken, EOPNOTSUPP the kernel's module dummy is not loaded
   * @example
   * await links.createDummy({ name: 'vip', up: true });
   * await links.addAddress('vip', '10.10.0.100/32');
   */
  *createDummy(options: NewLink): Operation<void> {
    yield* createLink(this.#context, 'dummy', options, options);
  }

  /**
   * Creates a device with its own hardware address on the wire of another device.
   *
   * @param options `name`, and the device below in `link`; `mode` defaults to 'bridge'
   * @throws NetlinkError EEXIST the name is taken, ENODEV there is no such `link`, EBUSY the device below is a port of a bridge
   * @example
   * await links.createMacvlan({ name: 'mv0', link: 'eth0', netns, up: true });
   */
  *createMacvlan(options: NewMacvlan): Operation<void> {
    yield* createLink(this.#context, 'macvlan', options, options);
  }

  /**
   * Creates a VLAN device, which carries the packets of one VLAN on the device below.
   *
   * @param options `name`, the device below in `link`, the VLAN's `id` (0 to 4094), `protocol`, `flags`, `egressPriorities`,
   * `ingressPriorities`
   * @throws NetlinkError EEXIST the name is taken, or the VLAN on this device; ENODEV there is no such `link`
   * @example
   * await links.createVlan({ name: 'eth0.5', link: 'eth0', id: 5, up: true });
   */
  *createVlan(options: NewVlan): Operation<void> {
    yield* createLink(this.#context, 'vlan', options, options);
  }

  /**
   * Creates a VXLAN device, which carries Ethernet over UDP to other hosts.
   *
   * @param options `name`, the network's `id` (0 to 2^24-1), `remote` (the other end, or a group with `link`), `local`, `destinationPort`
   * (default 4789), and the other settings of `Link.vxlan`
   * @throws NetlinkError EEXIST the name is taken, or the id with this port; UnsupportedError the kernel ignores a setting
   * @example
   * await links.createVxlan({ name: 'vx7', id: 7, remote: '192.0.2.2', local: '192.0.2.1', up: true });
   */
  *createVxlan(options: NewVxlan): Operation<void> {
    yield* createLink(this.#context, 'vxlan', options, options);
  }

  /**
   * Creates an ipvlan: a device with its own IP addresses, and the hardware address of the device below.
   *
   * @param options `name`, the device below in `link`, `mode` ('l2', 'l3', 'l3s'), `flags`. All ipvlans over a device share both.
   * @throws NetlinkError ENODEV there is no such `link`, EBUSY it has a macvlan or is a port of a bridge
   * @example
   * await links.createIpvlan({ name: 'ipv0', link: 'eth0', mode: 'l2', netns, up: true });
   */
  *createIpvlan(options: NewIpvlan): Operation<void> {
    yield* createLink(this.#context, 'ipvlan', options, options);
  }

  /**
   * Creates a tun or tap device, which stays until it is removed. A program uses the other end: it opens /dev/net/tun.
   *
   * @param options `name`, `mode` ('tun' carries IP packets, 'tap' Ethernet frames; default 'tun'), `owner` and `ownerGroup` (numbers of a
   * user and a group), `packetInformation`, `offloadHeader`, `multiQueue`
   * @throws NetlinkError EBUSY the name is taken, ENOENT there is no /dev/net/tun, EPERM CAP_NET_ADMIN is missing
   * @example
   * await links.createTun({ name: 'tap0', mode: 'tap', owner: 1000, up: true });
   */
  *createTun(options: NewTun): Operation<void> {
    yield* createLink(this.#context, 'tun', options, options);
  }

  /**
   * Creates a bond: several devices that act as one. A device joins by its `master`, while it is down.
   *
   * @param options `name`, `mode` (default 'balance-rr'), `miimonMilliseconds`, and the other settings of `Link.bond`
   * @throws NetlinkError EEXIST the name is taken, EACCES the mode has no such setting
   * @example
   * await links.createBond({ name: 'bond0', mode: 'active-backup', miimonMilliseconds: 100 });
   * await links.set('eth1', { master: 'bond0', up: true });
   */
  *createBond(options: NewBond): Operation<void> {
    yield* createLink(this.#context, 'bond', options, options);
  }

  /**
   * Creates a VRF. The devices whose `master` is the VRF use a routing table of their own.
   *
   * @param options `name`, and the number of the `table`, 1 to 2^32-1
   * @throws NetlinkError EEXIST the name is taken, EOPNOTSUPP the kernel has no VRFs
   * @example
   * await links.createVrf({ name: 'red', table: 1000, up: true });
   */
  *createVrf(options: NewVrf): Operation<void> {
    yield* createLink(this.#context, 'vrf', options, options);
  }

  /**
   * Creates a tunnel.
   *
   * @param options the `kind` ('ipip', 'sit', 'gre', 'ip6tnl', 'ip6gre', 'wireguard'), `name`, and usually `local`, `remote` and `ttl`;
   * 'gre' also has keys. The keys of 'wireguard' are not set here.
   * @throws NetlinkError EEXIST the name is taken, or a tunnel has these ends already; EOPNOTSUPP the kernel has no such tunnels
   * @example
   * await links.createTunnel({ kind: 'gre', name: 'gre1', local: '192.0.2.1', remote: '192.0.2.2', inputKey: 7, outputKey: 7 });
   */
  *createTunnel(options: NewTunnel): Operation<void> {
    if (typeof options !== 'object' || options === null) throw typeError([], 'an object', options);
    const { kind, ...fields } = options;
    if (!TUNNELS.includes(kind)) throw rangeError(['kind'], oneOf(TUNNELS, kind), kind);
    yield* createLink(this.#context, kind, fields, options);
  }

  /**
   * Changes a device. Fields that are left out stay as they are.
   *
   * One message carries the settings of every device. The kernel applies them in this order: netns, address, mtu, newName, master, up
   * (do_setlink in net/core/rtnetlink.c). If it refuses one, those before it stay. `up: false` with other changes goes first, because some
   * devices refuse changes while they are up. The settings of its kind and its other names also go before that message. The settings of its
   * port come last.
   *
   * The settings of its kind are in the field of that name (`vxlan: { ttl: 5 }`). Settings that do not change are not sent. Kernels ignore
   * settings that they do not know, so this method reads them back.
   *
   * @param name the device
   * @param changes `up`, `master` (null removes it from its master), `netns`, `newName`, `mtu` in bytes (from 68), `address`, `alias`,
   * `altNames` (the complete list), `group`, `promiscuous`, `transmitQueueLength`, `port` (of a bridge: `hairpin`, `isolated` ...), the
   * settings of its kind (`bridge`, `bond` ...)
   * @throws NetlinkError ENODEV there is no such device or master, EEXIST the new name is taken (there), EBUSY it is up and cannot be
   * renamed before Linux 6.2, EADDRNOTAVAIL the address cannot belong to a device, ELOOP a bridge cannot be a port of a bridge, EINVAL
   * `mtu` is outside the driver's limits, or lo cannot move
   * @throws RangeError ERR_CONFLICT the setting cannot change, or belongs to another kind
   * @throws UnsupportedError the kernel ignores a setting
   * @example
   * await links.set('web1', { netns, newName: 'eth0', up: true });
   * await links.set('web2', { port: { hairpin: true } });
   */
  *set(name: string, changes: LinkChanges): Operation<void> {
    yield* changeLink(this.#context, name, changes);
  }

  /**
   * Removes a device. Removing one end of a veth also removes the other.
   *
   * @param name the device
   * @throws NetlinkError ENODEV there is no such device, EOPNOTSUPP lo and hardware cannot be removed
   * @example
   * await links.remove('web1');
   */
  *remove(name: string): Operation<void> {
    checkDevice(name, ['name']);
    const { exchange, kinds } = this.#context;
    const call = request(kinds.messages, {
      syscall: 'RTM_DELLINK',
      type: RTM_DELLINK,
      header: LINK_HEADER,
      value: nameAttribute(name),
      subject: { name },
      rename: () => ['name'],
      refusals: {
        hints: { ENODEV: missing(name), EOPNOTSUPP: 'lo, and devices that are hardware, cannot be removed' },
        blame: { ENODEV: ['name'], EOPNOTSUPP: ['name'] },
      },
    });
    yield* exchange.request(call);
  }
}
