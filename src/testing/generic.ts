import {
  CTRL_ATTR_FAMILY_ID,
  CTRL_ATTR_FAMILY_NAME,
  CTRL_CMD_GETFAMILY,
  CTRL_CMD_NEWFAMILY,
  GENL_ID_CTRL,
} from '../linux/genetlink.ts';
import { NETLINK_GENERIC } from '../linux/netlink.ts';
import { ipvsFile } from './ipvs/files.ts';
import * as ipvs from './ipvs/netlink.ts';
import { ipvsSysctls, writeSysctl } from './ipvs/settings.ts';
import type { Family } from './machine/machine.ts';
import { hasModule } from './machine/state.ts';
import { ENOENT, EOPNOTSUPP, refuse } from './refusal.ts';
import { Attributes, Writer } from './wire/attributes.ts';

const HEADERS = 20;
/** The greatest number that a family may have: no real kernel has given it away, and so none takes it for one that it knows. */
export const IPVS_ID = 1023;

/** Generic netlink: the controller, and IPVS. */
export const generic: Family = {
  protocol: NETLINK_GENERIC,
  answer(machine, socket, request) {
    if (request.type === IPVS_ID && hasModule(machine.release, 'ip_vs')) return ipvs.answer(machine, socket, request);
    if (request.type !== GENL_ID_CTRL) return refuse(ENOENT);
    if (request.bytes[16] !== CTRL_CMD_GETFAMILY) return refuse(EOPNOTSUPP);
    const name = new Attributes(request.bytes, HEADERS, request.bytes.length).text(CTRL_ATTR_FAMILY_NAME);
    if (name !== 'IPVS' || !hasModule(machine.release, 'ip_vs')) return refuse(ENOENT);
    const writer = new Writer();
    writer.message({ type: GENL_ID_CTRL, flags: 0, sequence: request.sequence, port: request.port }, () => {
      writer.raw(Uint8Array.of(CTRL_CMD_NEWFAMILY, 2, 0, 0));
      writer.text(CTRL_ATTR_FAMILY_NAME, 'IPVS');
      writer.u16(CTRL_ATTR_FAMILY_ID, IPVS_ID);
    });
    socket.deliver(writer.take());
  },
  file: ipvsFile,
  settings: ({ release }, userNamespace) => ipvsSysctls(release, userNamespace),
  writeSetting: writeSysctl,
};
