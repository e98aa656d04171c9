import { argument } from '../compile/argument.ts';
import { fieldsOf } from '../compile/json-fields.ts';
import { registerNumber } from '../compile/linearize.ts';
import { parse, single, step } from '../compile/lower.ts';
import { TYPES } from '../data/datatypes.ts';
import { SCOPES } from '../data/scopes.ts';
import { nodeJson } from '../decompile/to-json.ts';
import { nodeText } from '../decompile/to-text.ts';
import { TRANSPORT } from '../headers.ts';
import type { AddressFamily } from '../json.ts';
import { defined, type JsonObject } from '../json-object.ts';
import { type Node, Place, refuse } from '../tree.ts';
import { addressType, bracketedAddress, isAddressFamily, natFamily, readAddress, readPorts } from './address.ts';
import type { Construct } from './construct.ts';
import { readTarget } from './nat.ts';

/* `tproxy`: gives the packet to a local socket, and rewrites nothing. */

export interface TproxyStatement {
  kind: 'tproxy';
  /** The family of the address, in tables of family inet. */
  family: AddressFamily | undefined;
  address: Node | undefined;
  port: Node | undefined;
}

export const TPROXY: Construct<TproxyStatement, 'tproxy'> = {
  compile: {
    tproxy(e, json, place) {
      const fields = json === null || json === undefined ? {} : fieldsOf(json, place);
      const family = natFamily(e, fields, place, 'tproxy is only supported for IPv4/IPv6/INET');
      const to = fields.addr === undefined ? undefined : parse(fields.addr, place, 'addr');
      const toPort = fields.port === undefined ? undefined : parse(fields.port, place, 'port');
      if (e.scope.at(TRANSPORT) === undefined)
        throw refuse(
          place,
          "a match of the transport protocol before it, such as meta.l4proto.eq('tcp') or tcp.dport.eq(80)",
          undefined,
          'Transparent proxy support requires transport protocol match',
        );
      if (to === undefined && toPort === undefined) throw refuse(place, 'an address or a port', 'neither');
      let address: Node | undefined;
      if (to !== undefined) {
        const type = addressType(family, new Place(place, 'family'));
        address = single(argument(e, to, type, type.bits, 'big'));
      }
      const port = toPort && single(argument(e, toPort, TYPES.inet_service, 16, 'big'));
      step(e, emitter => {
        const taken: number[] = [];
        const registers = [address, port].map(term => {
          if (term === undefined) return undefined;
          const unit = emitter.take();
          taken.push(unit);
          emitter.load(term, unit);
          return registerNumber(unit);
        });
        for (const _ of taken) emitter.release();
        const [addressRegister, portRegister] = registers;
        emitter.push({
          tproxy: {
            family: family ?? 'unspecified',
            ...(addressRegister !== undefined && { addressRegister }),
            ...(portRegister !== undefined && { portRegister }),
          },
        });
      });
    },
  },
  fromText: {
    tproxy(p, word) {
      const outer = p.scope;
      p.scope = SCOPES.tproxy;
      const content: JsonObject = {};
      if (p.isWord('ip') || p.isWord('ip6')) {
        content.family = p.text;
        p.next();
        p.expectWord('to');
      } else {
        p.expectWord('to', 'ip', 'ip6');
      }
      readTarget(p, content, 'addr');
      p.hold(SCOPES.tproxy);
      p.scope = outer;
      return { [word]: content };
    },
  },
  read: {
    tproxy(registers, { family, addressRegister, portRegister }) {
      const address = addressRegister === undefined ? undefined : readAddress(registers, addressRegister, family);
      const port = readPorts(registers, portRegister);
      const shown = registers.family === 'inet' && isAddressFamily(family) ? family : undefined;
      return { kind: 'tproxy', family: shown, address, port };
    },
  },
  complete(statement, rule) {
    if (statement.address !== undefined) statement.address = rule.node(statement.address);
    if (statement.port === undefined) return;
    rule.forget();
    statement.port = rule.node(statement.port);
  },
  text({ family, address, port }, options) {
    const to =
      address === undefined
        ? ''
        : address.kind === 'value'
          ? bracketedAddress(address, options)
          : nodeText(address, options);
    const isShown = port !== undefined && (options.words.dialect.printsMappedPorts || port.kind === 'value');
    const at = isShown ? `:${nodeText(port, options)}` : '';
    return `tproxy${family === undefined ? '' : ` ${family}`} to ${to}${at}`;
  },
  json: ({ family, address, port }, options) => ({
    tproxy: defined({
      family,
      addr: address && nodeJson(address, options),
      port: port && nodeJson(port, options),
    }),
  }),
};
