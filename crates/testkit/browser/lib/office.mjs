// An office, the way out of it, and a server outside: people in Firefox (in the test's own namespace, since WebDriver BiDi goes
// by TCP on loopback) and in Chromium (next door), a proxy, a router between all of them whose rules change, and the server.
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { openNamespace, run } from './namespaces.mjs';
import { Opened } from './opened.mjs';

/** The server's name; the addresses are from the ranges for documentation (RFC 5737, RFC 3849). */
export const SERVER_NAME = 'meet.schalter.test';
/** Its name where it is behind a NAT that translates one to one. */
export const INNER_NAME = 'inner.schalter.test';
/** Its address outside, of either kind. */
export const SERVER = { v4: '203.0.113.10', v6: '2001:db8:a::10' };
/** Where it is behind a NAT that translates one to one, and what others see. */
export const INNER = { own: '10.99.0.10', told: '203.0.113.77' };
/** The router's address for the TCP of 'two NATs'. */
const TCP_NAT = '203.0.113.5';
export const PROXY = { address: '10.77.3.2', port: 3128 };

/** Places in the office: number of the subnet. */
const [FOX, CHRIS, DMZ] = [1, 2, 3];
export const PLACES = { fox: FOX, chris: CHRIS };

/** What an interface of a place has, as its host number says. */
const v4 = (place, host = 2) => `10.77.${place}.${host}`;
const v6 = (place, host = 2) => `2001:db8:${place}::${host}`;
const CLIENTS = `10.77.${FOX}.0/24, 10.77.${CHRIS}.0/24`;

/** Rules for the router: a chain of what passes, and of what addresses become. */
const rules = ({ forward = '', prerouting = '', postrouting = '' }) => `flush ruleset
table inet office {
  counter long_of_server { }
  counter long_of_clients { }
  chain forward {
    type filter hook forward priority 0; policy accept;
    ${forward}
  }
  chain before {
    type nat hook prerouting priority dstnat;
    ${prerouting}
  }
  chain after {
    type nat hook postrouting priority srcnat;
    ${postrouting}
  }
}`;

/** The router's rules by name of the network. Firewalls don't say that they refuse: that is the worst case. */
export const ROUTERS = {
  open: rules({}),
  'no UDP': rules({ forward: 'meta l4proto udp drop' }),
  'only TCP 443': rules({ forward: 'ct state established accept; ip saddr { ' + CLIENTS + ' } tcp dport 443 accept; drop' }),
  proxy: rules({ forward: `ct state established accept; ip daddr ${PROXY.address} tcp dport ${PROXY.port} accept; ip saddr ${PROXY.address} tcp dport 443 accept; drop` }),
  // Another port for each destination, and nobody gets in by it but whom the packet went to.
  'symmetric NAT': rules({ forward: 'ct state established accept; iifname "outside" drop', postrouting: 'meta nfproto ipv4 oifname "outside" masquerade fully-random' }),
  // One NAT for UDP and one for TCP, so that the one can forget what the other still knows.
  'two NATs': rules({
    forward: 'ct state established accept; iifname "outside" drop',
    postrouting: `oifname "outside" ip protocol tcp snat ip to ${TCP_NAT}; meta nfproto ipv4 oifname "outside" masquerade fully-random`,
  }),
  // Nothing longer passes, and no ICMP tells so: UDP must never be longer. TCP is told in its handshake, as routers of such links do.
  'MTU 1280': rules({ forward: 'tcp flags syn tcp option maxseg size set 1240; meta length > 1280 iifname "outside" counter name long_of_server drop; meta length > 1280 counter name long_of_clients drop; icmp type destination-unreachable drop' }),
  'NAT 1:1': rules({
    forward: `ct original ip daddr { ${INNER.own}, ${SERVER.v4} } drop`,
    prerouting: `ip daddr ${INNER.told} dnat ip to ${INNER.own}`,
    postrouting: `ip saddr ${INNER.own} snat ip to ${INNER.told}`,
  }),
};

/** What leaves a place for anything but the server (or the proxy) is counted, and remembered by destination. */
const watching = `table inet watch {
  set strays { type inet_proto . inet_service; flags dynamic; size 64; }
  set strays4 { type ipv4_addr; flags dynamic; size 64; }
  set strays6 { type ipv6_addr; flags dynamic; size 64; }
  counter strays { }
  counter served { }
  chain out {
    type filter hook output priority 0;
    oifname != "eth0" return
    ip daddr { ${SERVER.v4}, ${INNER.told}, ${PROXY.address} } counter name served return
    ip6 daddr ${SERVER.v6} counter name served return
    icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-solicit, mld2-listener-report } return
    ip protocol igmp return
    add @strays { meta l4proto . th dport }
    add @strays4 { ip daddr }
    add @strays6 { ip6 daddr }
    counter name strays
  }
}`;

/** Opens the namespaces and cables them. */
export async function openOffice() {
  const opened = new Opened();
  const here = { pid: process.pid, run: (line, options) => run(line, options) };
  const [router, server, chris, dmz] = await Promise.all([0, 1, 2, 3].map(() => opened.add(openNamespace(), (it) => it.close())));
  const places = { [FOX]: here, [CHRIS]: chris, [DMZ]: dmz };

  router.run('sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1');
  for (const namespace of [here, router, server, chris, dmz]) namespace.run('sysctl -qw net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.default.accept_ra=0');
  const cable = (name, namespace) => {
    router.run(`ip link add ${name} type veth peer name eth0 netns ${namespace.pid}`);
    router.run(`ip link set ${name} up`);
    namespace.run('ip link set eth0 up');
    // One packet is one packet, as on a wire: else the kernel carries several in one, which rules take for a long one.
    for (const [at, device] of [[router, name], [namespace, 'eth0']]) at.run(`ip link set ${device} gso_max_segs 1`);
  };
  for (const [number, namespace] of Object.entries(places)) {
    cable(`place${number}`, namespace);
    router.run(`ip addr add ${v4(number, 1)}/24 dev place${number}`);
    router.run(`ip addr add ${v6(number, 1)}/64 dev place${number} nodad`);
  }
  cable('outside', server);
  const outside = () => {
    router.run('ip addr flush dev outside scope global');
    for (const address of ['203.0.113.1/24', `${TCP_NAT}/24`, '10.99.0.1/24']) router.run(`ip addr add ${address} dev outside`);
    router.run('ip addr add 2001:db8:a::1/64 dev outside nodad');
  };
  outside();
  for (const address of [`${SERVER.v4}/24`, `${INNER.own}/24`]) server.run(`ip addr add ${address} dev eth0`);
  server.run(`ip addr add ${SERVER.v6}/64 dev eth0 nodad`);
  // Into the office, but not to its router's outer address, which needs no way.
  server.run('ip route add 10.77.0.0/16 via 203.0.113.1');
  server.run('ip route add default via 2001:db8:a::1');

  const office = {
    router, server, chris,
    /** Gives a place its address of each kind that it shall have, in place of those it had. */
    address(place, { host = 2, kinds = ['v4', 'v6'] } = {}) {
      const at = places[place];
      at.run('ip addr flush dev eth0 scope global');
      if (kinds.includes('v4')) {
        at.run(`ip addr add ${v4(place, host)}/24 dev eth0`);
        at.run(`ip route replace default via ${v4(place, 1)}`);
      }
      if (kinds.includes('v6')) {
        at.run(`ip addr add ${v6(place, host)}/64 dev eth0 nodad`);
        at.run(`ip route replace default via ${v6(place, 1)}`);
      }
    },
    /** The router's rules are those of the network `name` from now on, and nobody's address changes. */
    rules: (name) => router.run('nft -f -', { input: ROUTERS[name] }),
    /** Sets up the network `name` for everybody. */
    become(name, kinds = ['v4']) {
      outside();
      office.rules(name);
      for (const place of Object.keys(places)) {
        office.address(place, { kinds });
        if (Number(place) !== DMZ) places[place].run('nft -f -', { input: `flush ruleset\n${watching}` });
      }
    },
    /** The router's NAT for UDP forgets everything, and has another outer address from now on; TCP goes on by its own one. */
    rebind(host) {
      router.run('ip addr flush dev outside scope global');
      for (const address of [`203.0.113.${host}`, TCP_NAT]) router.run(`ip addr add ${address}/24 dev outside`);
    },
    /** Another provider, or the same one after a night: the router's addresses are others now, and what comes to the old ones is lost. */
    renumber(host) {
      const gone = `table inet office { chain gone { type filter hook prerouting priority raw; ip daddr ${TCP_NAT} drop; }; }`;
      router.run('nft -f -', { input: `${ROUTERS['symmetric NAT']}\n${gone}` });
      router.run('ip addr flush dev outside scope global');
      router.run(`ip addr add 203.0.113.${host}/24 dev outside`);
    },
    /** A counter that the router's rules name. */
    counted: (name) => counter(router, 'office', name),
    /** How many packets left the office's people for anybody but the server and the proxy, and for these. */
    left() {
      const all = [here, chris].map((at) => ({ strays: counter(at, 'watch', 'strays'), served: counter(at, 'watch', 'served'), sets: at.run('nft list table inet watch').match(/elements = \{[^}]*\}/g) ?? [] }));
      return { strays: all.reduce((sum, one) => sum + one.strays, 0), served: all.map((one) => one.served), where: all.flatMap((one) => one.sets) };
    },
    /** Starts the proxy in its place; `close` ends it. */
    proxy: () => startInside(dmz, 'connect-proxy.mjs', [String(PROXY.port)]),
    close: () => opened.close(),
  };
  return office;
}

const counter = (at, table, name) => Number(/packets (\d+)/.exec(at.run(`nft list counter inet ${table} ${name}`))[1]);

/** All names there are, to enter with. */
export const HOSTS = [{ name: SERVER_NAME, address: SERVER.v4 }, { name: SERVER_NAME, address: SERVER.v6 }, { name: INNER_NAME, address: INNER.told }];

/** Runs a script of this folder in a namespace and waits for its first line. */
async function startInside(namespace, script, args) {
  const [program, words] = namespace.command(process.execPath, [fileURLToPath(new URL(script, import.meta.url)), ...args]);
  const child = spawn(program, words, { stdio: ['pipe', 'pipe', 'inherit'] });
  await new Promise((ready, failed) => {
    child.stdout.once('data', ready);
    child.once('error', failed).once('exit', (code) => failed(new Error(`${script} ended with ${code}`)));
  });
  return {
    close: () => {
      const gone = new Promise((done) => child.once('exit', done));
      child.stdin.end();
      return gone;
    },
  };
}
