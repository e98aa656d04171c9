import {
  attribute,
  attributes,
  type Infer,
  list,
  namedBits,
  opt,
  struct,
  type Type,
  U32_NE,
  u16be,
  u16ne,
} from '../../codec/index.ts';
import { typeError } from '../../errors.ts';
import * as C from '../../linux/if_link.ts';
import { LinkKind, type Need, type SettingsOf } from './kind.ts';
import type { NewLink } from './settings.ts';

const ifla_vlan_flags = struct('ifla_vlan_flags', { flags: [4, U32_NE], mask: [4, U32_NE] });
const ifla_vlan_qos_mapping = struct('ifla_vlan_qos_mapping', { from: [4, U32_NE], to: [4, U32_NE] });

/** VLAN_FLAG_* (include/uapi/linux/if_vlan.h). */
const FLAGS = { 'reorder-header': 1, gvrp: 2, 'loose-binding': 4, mvrp: 8, 'bridge-binding': 16 } as const;
/** A flag of a VLAN device: see `VlanDevice.flags`. */
export type VlanFlag = keyof typeof FLAGS;
const ALL_FLAGS = Object.values(FLAGS).reduce((all, bit) => all | bit, 0);

/** The flags that are set, and the mask of those that are meant: all of them. */
const VLAN_FLAGS: Type<(VlanFlag | number)[]> = {
  kind: 'vlan flags',
  write(writer, value) {
    if (!Array.isArray(value)) throw typeError([], 'an array of flags', value);
    let flags = 0;
    for (const [i, flag] of value.entries()) {
      const bit = typeof flag === 'string' && Object.hasOwn(FLAGS, flag) ? FLAGS[flag] : flag;
      if (typeof bit !== 'number') throw typeError([i], `one of ${Object.keys(FLAGS).join(', ')}`, flag);
      flags |= bit;
    }
    ifla_vlan_flags.write(writer, { flags: flags >>> 0, mask: (flags | ALL_FLAGS) >>> 0 });
  },
  read(source, start, end) {
    const value = ifla_vlan_flags.read(source, start, end);
    return value && namedBits<VlanFlag>(value.flags, FLAGS);
  },
};

/** The priority of a packet for the kernel, and that of its tag (0 to 7), one way or the other. */
export type PriorityMapping = Infer<typeof ifla_vlan_qos_mapping>;

/** IFLA_INFO_DATA of a VLAN device (net/8021q/vlan_netlink.c). */
const VLAN = attributes('IFLA_VLAN', {
  /** The VLAN's number, 0 to 4094. */
  id: opt(u16ne(C.IFLA_VLAN_ID)),
  /**
   * 'reorder-header' (on in a new device): packets show no tag; 'gvrp' and 'mvrp': switches are told of the VLAN; 'loose-binding': it is up
   * whatever the device below is; 'bridge-binding': it is up while a port of the bridge below has the VLAN.
   */
  flags: opt(attribute(C.IFLA_VLAN_FLAGS, VLAN_FLAGS)),
  /** From the kernel's priority of a packet that leaves to that of its tag, 0 to 7. A change adds; a mapping to 0 takes one away. */
  egressPriorities: opt(list(C.IFLA_VLAN_EGRESS_QOS, C.IFLA_VLAN_QOS_MAPPING, ifla_vlan_qos_mapping)),
  /** From the priority of the tag of a packet that comes in, 0 to 7, to the kernel's. A change adds; a mapping to 0 takes one away. */
  ingressPriorities: opt(list(C.IFLA_VLAN_INGRESS_QOS, C.IFLA_VLAN_QOS_MAPPING, ifla_vlan_qos_mapping)),
  /** EtherType of the tags: 0x8100 (the default), or 0x88a8 for provider bridges. */
  protocol: opt(u16be(C.IFLA_VLAN_PROTOCOL)),
});
/** What the kernel says of a VLAN device. */
export type VlanDevice = Infer<typeof VLAN>;

/** A new VLAN device: it sends and receives the packets of one VLAN on the device below. */
export type NewVlan = NewLink & {
  /** The device below, in the namespace of the handle. */
  link: string;
} & SettingsOf<'vlan', Need<VlanDevice, 'id'>>;

const hasMappings = (given: readonly PriorityMapping[], read: readonly PriorityMapping[] = []) =>
  given.every(({ from, to }) => (read.find(other => other.from === from)?.to ?? 0) === to);

export const vlan = new LinkKind<'vlan', NewVlan, VlanDevice>({
  name: 'vlan',
  data: VLAN,
  required: ['id'],
  // 4095 is reserved (IEEE 802.1Q).
  limits: { id: [0, 4094] },
  fixed: ['id', 'protocol'],
  reads: { egressPriorities: hasMappings, ingressPriorities: hasMappings },
  link: 'required',
});
