import { NETLINK_ROUTE, NLM_F_DUMP } from '../../linux/netlink.ts';
import * as Rt from '../../linux/rtnetlink.ts';
import type { Family } from '../machine/machine.ts';
import { packed } from '../machine/netlink.ts';
import { EBUSY, refuse } from '../refusal.ts';
import { deleteAddress, listAddresses, newAddress } from './addresses.ts';
import type { Call } from './call.ts';
import { deleteLink, getLink, listLinks, setLink } from './links.ts';
import { deleteNeighbour, listNeighbours, newNeighbour } from './neighbours.ts';
import { deleteRoute, listRoutes, newRoute } from './routes.ts';
import { deleteRule, listRules, newRule } from './rules.ts';

/* Links, addresses, routes, rules and neighbours over NETLINK_ROUTE. */

const DUMPS: Record<number, (call: Call) => Iterable<Uint8Array>> = {
  [Rt.RTM_GETLINK]: listLinks,
  [Rt.RTM_GETADDR]: listAddresses,
  [Rt.RTM_GETROUTE]: listRoutes,
  [Rt.RTM_GETRULE]: listRules,
  [Rt.RTM_GETNEIGH]: listNeighbours,
};

const OPERATIONS: Record<number, (call: Call) => void> = {
  [Rt.RTM_GETLINK]: getLink,
  [Rt.RTM_NEWLINK]: setLink,
  [Rt.RTM_SETLINK]: setLink,
  [Rt.RTM_DELLINK]: deleteLink,
  [Rt.RTM_NEWADDR]: newAddress,
  [Rt.RTM_DELADDR]: deleteAddress,
  [Rt.RTM_NEWROUTE]: newRoute,
  [Rt.RTM_DELROUTE]: deleteRoute,
  [Rt.RTM_NEWRULE]: newRule,
  [Rt.RTM_DELRULE]: deleteRule,
  [Rt.RTM_NEWNEIGH]: newNeighbour,
  [Rt.RTM_DELNEIGH]: deleteNeighbour,
};

/** Routing netlink. */
export const routing: Family = {
  protocol: NETLINK_ROUTE,
  answer(machine, socket, request) {
    const call: Call = { machine, namespace: machine.namespace(socket.namespace), socket, request };
    const dump = (request.flags & NLM_F_DUMP) === NLM_F_DUMP ? DUMPS[request.type] : undefined;
    if (dump !== undefined) {
      if (!socket.start(packed(dump(call), request))) refuse(EBUSY);
      return;
    }
    const operation = OPERATIONS[request.type];
    if (operation === undefined) return machine.notModelled(`the request ${request.type} of rtnetlink`);
    operation(call);
  },
};
