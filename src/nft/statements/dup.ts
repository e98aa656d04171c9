import { argument } from '../compile/argument.ts';
import { fieldsOf } from '../compile/json-fields.ts';
import { registerNumber } from '../compile/linearize.ts';
import { loaded, parse, single, step } from '../compile/lower.ts';
import { TYPES } from '../data/datatypes.ts';
import { SCOPES } from '../data/scopes.ts';
import { nodeJson } from '../decompile/to-json.ts';
import { nodeText } from '../decompile/to-text.ts';
import { defined, type JsonObject } from '../json-object.ts';
import { setType } from '../nodes.ts';
import type { Node } from '../tree.ts';
import { addressType, isAddressFamily, readAddress } from './address.ts';
import type { Construct } from './construct.ts';

/* `dup`: sends a copy of the packet to another host, or in the family netdev out by another device. */

export interface DupStatement {
  kind: 'dup';
  /** The address; the device if there is no address. */
  to: Node | undefined;
  device: Node | undefined;
}

export const DUP: Construct<DupStatement, 'dup'> = {
  compile: {
    dup(e, json, place) {
      const fields = fieldsOf(json, place);
      const deviceIn = (name: string) =>
        single(argument(e, parse(fields[name], place, name), TYPES.iface_index, 32, 'host'));
      const { family } = e.scope;
      if (family === 'netdev') {
        const device = deviceIn('addr');
        step(e, emitter => emitter.push({ dup: { deviceRegister: loaded(emitter, device) } }));
        return;
      }
      const to = parse(fields.addr, place, 'addr');
      const type = addressType(family, place, 'a rule of family ip, ip6 or netdev', 'unsupported family');
      const address = single(argument(e, to, type, type.bits, 'big'));
      const device = fields.dev === undefined ? undefined : deviceIn('dev');
      step(e, emitter => {
        const unit = emitter.take(address);
        emitter.load(address, unit);
        const deviceRegister = device === undefined ? undefined : loaded(emitter, device);
        emitter.release(address);
        emitter.push({
          dup: { addressRegister: registerNumber(unit), ...(deviceRegister !== undefined && { deviceRegister }) },
        });
      });
    },
  },
  fromText: {
    dup(p) {
      return p.within(SCOPES.dup, () => {
        p.expectWord('to');
        const content: JsonObject = {};
        const { start } = p;
        content.addr = p.grammar.value(p);
        p.note(content, 'addr', start);
        if (p.acceptWord('device')) {
          const at = p.start;
          content.dev = p.grammar.value(p);
          p.note(content, 'dev', at);
        }
        p.hold(SCOPES.dup);
        return { dup: content };
      });
    },
  },
  read: {
    dup(registers, { addressRegister, deviceRegister }) {
      const { family } = registers;
      const address =
        addressRegister === undefined
          ? undefined
          : isAddressFamily(family)
            ? readAddress(registers, addressRegister, family)
            : registers.get(addressRegister);
      const device = registers.optional(deviceRegister);
      if (device !== undefined) setType(device, TYPES.iface_index, 'host');
      return address === undefined
        ? { kind: 'dup', to: device, device: undefined }
        : { kind: 'dup', to: address, device };
    },
  },
  complete(statement, rule) {
    if (statement.to !== undefined) statement.to = rule.node(statement.to);
    if (statement.device !== undefined) statement.device = rule.node(statement.device);
  },
  text({ to, device }, options) {
    if (to === undefined) return 'dup';
    return `dup to ${nodeText(to, options)}${device === undefined ? '' : ` device ${nodeText(device, options)}`}`;
  },
  json({ to, device }, options) {
    if (to === undefined) return { dup: null };
    return { dup: defined({ addr: nodeJson(to, options), dev: device && nodeJson(device, options) }) };
  },
};
