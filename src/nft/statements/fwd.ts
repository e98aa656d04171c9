import { argument } from '../compile/argument.ts';
import { fieldsOf } from '../compile/json-fields.ts';
import { registerNumber } from '../compile/linearize.ts';
import { loaded, parse, single, step } from '../compile/lower.ts';
import { TYPES } from '../data/datatypes.ts';
import { SCOPES } from '../data/scopes.ts';
import { nodeJson } from '../decompile/to-json.ts';
import { nodeText } from '../decompile/to-text.ts';
import type { AddressFamily } from '../json.ts';
import { defined, type JsonObject } from '../json-object.ts';
import { setType } from '../nodes.ts';
import type { Parser } from '../parse/parser.ts';
import { type Node, Place, refuse } from '../tree.ts';
import { addressType, isAddressFamily, readAddress } from './address.ts';
import type { Construct } from './construct.ts';

/* `fwd`: sends the packet out by another device, without the rest of the stack. */

export interface FwdStatement {
  kind: 'fwd';
  device: Node;
  address: Node | undefined;
  family: AddressFamily | undefined;
}

function readForward(p: Parser): JsonObject {
  const content: JsonObject = {};
  const isRouted = p.isWord('ip') || p.isWord('ip6');
  if (isRouted) {
    content.family = p.text;
    p.next();
    p.expectWord('to');
  } else {
    p.expectWord('to', 'ip', 'ip6');
  }
  const { start } = p;
  const name = isRouted ? 'addr' : 'dev';
  content[name] = p.grammar.value(p);
  p.note(content, name, start);
  if (isRouted) {
    p.expectWord('device');
    const at = p.start;
    content.dev = p.grammar.value(p);
    p.note(content, 'dev', at);
  }
  return { fwd: content };
}

export const FWD: Construct<FwdStatement, 'fwd'> = {
  compile: {
    fwd(e, json, place) {
      const fields = fieldsOf(json, place);
      if (e.scope.family !== 'netdev')
        throw refuse(place, 'a rule of family netdev', e.scope.family, 'unsupported family');
      const device = single(argument(e, parse(fields.dev, place, 'dev'), TYPES.iface_index, 32, 'host'));
      const given = fields.addr === undefined ? undefined : parse(fields.addr, place, 'addr');
      const family = given === undefined ? undefined : fields.family;
      const type = given === undefined ? undefined : addressType(family, new Place(place, 'family'));
      const address = given && type && single(argument(e, given, type, type.bits, 'big'));
      step(e, emitter => {
        const unit = emitter.take(device);
        emitter.load(device, unit);
        const addressRegister = address === undefined ? undefined : loaded(emitter, address);
        emitter.release(device);
        emitter.push({
          fwd: {
            deviceRegister: registerNumber(unit),
            ...(addressRegister !== undefined && { addressRegister }),
            ...(isAddressFamily(family) && { family }),
          },
        });
      });
    },
  },
  fromText: {
    fwd: p => p.within(SCOPES.fwd, () => readForward(p)),
  },
  read: {
    fwd(registers, { deviceRegister = 0, addressRegister, family }) {
      const device = registers.get(deviceRegister);
      setType(device, TYPES.iface_index, 'host');
      const address = addressRegister === undefined ? undefined : readAddress(registers, addressRegister, family);
      return { kind: 'fwd', device, address, family: isAddressFamily(family) ? family : undefined };
    },
  },
  complete(statement, rule) {
    statement.device = rule.node(statement.device);
    if (statement.address !== undefined) statement.address = rule.node(statement.address);
  },
  text({ device, address, family }, options) {
    const by = nodeText(device, options);
    return address === undefined ? `fwd to ${by}` : `fwd ${family} to ${nodeText(address, options)} device ${by}`;
  },
  json: ({ device, address, family }, options) => ({
    fwd: defined({
      dev: nodeJson(device, options),
      family: address && family,
      addr: address && nodeJson(address, options),
    }),
  }),
  ends: () => true,
};
