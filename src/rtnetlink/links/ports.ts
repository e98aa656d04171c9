import { attributes, type Infer, opt, u32ne } from '../../codec/index.ts';
import { IFLA_VRF_PORT_TABLE } from '../../linux/if_link.ts';
import { BOND_PORT, BOND_PORT_READ_ONLY, type BondPort } from './bond-port.ts';
import { LinkKind } from './kind.ts';
import { type BridgePort, PORT, PORT_LIMITS, PORT_READ_ONLY } from './port.ts';
import type { NewLink } from './settings.ts';

/* The data that a master has of each of its ports (IFLA_INFO_SLAVE_DATA). It has rows, as the data of a kind has. */

const VRF_PORT = attributes('IFLA_VRF_PORT', () => ({
  /** The routing table of the VRF. */
  table: opt(u32ne(IFLA_VRF_PORT_TABLE)),
}));

const port = new LinkKind<'port', NewLink, BridgePort>({
  name: 'port',
  data: PORT,
  nestedOnly: true,
  readOnly: PORT_READ_ONLY,
  limits: PORT_LIMITS,
  // The kernel sets the state itself when the carrier comes or goes, and refuses a state that it cannot set.
  reads: { state: () => true },
  since: {
    isolated: '4.18',
    locked: '5.18',
    macAuthenticationBypass: '6.2',
    multicastMaxGroups: '6.3',
    neighbourVlanSuppress: '6.4',
    backupNextHopId: '6.6',
  },
});

const bondPort = new LinkKind<'bondPort', NewLink, BondPort>({
  name: 'bondPort',
  data: BOND_PORT,
  nestedOnly: true,
  readOnly: BOND_PORT_READ_ONLY,
  since: { priority: '6.0' },
  refusals: () => ({
    hints: {
      EACCES: 'the mode of the bond has no such setting',
      EINVAL: 'the bond has no such queue (transmitQueues), or another part has it',
    },
  }),
});

const vrfPort = new LinkKind<'vrfPort', NewLink, Infer<typeof VRF_PORT>>({
  name: 'vrfPort',
  data: VRF_PORT,
  nestedOnly: true,
  readOnly: ['table'],
});

/** By the kind of the master. The data is in the field of a link with the name of the port's kind. */
export const PORTS = { bridge: port, bond: bondPort, vrf: vrfPort } as const;

/** The data of a port, in the field for the kind of its master. */
export interface PortData {
  /** The settings and the state of the device as a port of a bridge. */
  port?: BridgePort;
  /** The settings and the state of the device as a part of a bond. */
  bondPort?: BondPort;
  /** The state of the device as a port of a VRF. */
  vrfPort?: Infer<typeof VRF_PORT>;
}
