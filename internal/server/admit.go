package server

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"arca/internal/api"
)

// admit refuses what must not reach an operation whoever signed it: requests for
// hosts we are not, and requests that a browser sends on behalf of another site.
func (s *Server) admit(r *http.Request) *refusal {
	// A request line can name its target in other forms than by a path. Signatures
	// do not cover what these hold beyond host and path.
	if u := r.URL; u.Opaque != "" || u.User != nil || u.Host != "" && u.Host != r.Host {
		return &refusal{"target", api.SerializationException.Errorf("The target of the request cannot be read.")}
	}
	if !s.hosts.serves(r.Host) {
		code := &api.Code{Name: "MisdirectedRequestException", Status: http.StatusMisdirectedRequest}
		return &refusal{"host", code.Errorf("This server is not reached by the host name '%s'."+
			" If it should be, add the name to its list of hosts.", quotable(hostOf(r.Host)))}
	}
	if foreignBrowser(r) {
		code := &api.Code{Name: "AccessDeniedException", Status: http.StatusForbidden}
		return &refusal{"browser", code.Errorf("Requests from web pages are not accepted.")}
	}
	return nil
}

// foreignBrowser reports whether a browser says that another site's page caused the
// request. Clients that are no browsers send neither header.
func foreignBrowser(r *http.Request) bool {
	switch r.Header.Get("Sec-Fetch-Site") {
	case "", "none", "same-origin":
	default:
		return true
	}
	origins := r.Header["Origin"]
	if len(origins) == 0 {
		return false
	}
	if len(origins) > 1 {
		return true
	}
	u, err := url.Parse(origins[0])
	return err != nil || u.Host == "" || !strings.EqualFold(u.Host, r.Host)
}

// hostRules are the host names we answer to. A page in a browser can point a name of
// its own at our address (DNS rebinding); the name then shows in Host, and is none of
// ours. Addresses cannot be pointed elsewhere, so every address is ours.
type hostRules struct {
	names    map[string]bool
	suffixes []string // ".example.com"
}

func newHostRules(hosts []string) (hostRules, error) {
	rules := hostRules{names: map[string]bool{"localhost": true}, suffixes: []string{".localhost"}}
	for _, h := range hosts {
		name := strings.ToLower(strings.TrimSuffix(h, "."))
		suffix, wild := strings.CutPrefix(name, "*")
		if wild {
			name = strings.TrimPrefix(suffix, ".")
		}
		if name == "" || wild && suffix[0] != '.' || strings.ContainsAny(name, "*/:@ ") {
			return hostRules{}, fmt.Errorf("%q is not a host name", h)
		}
		if wild {
			rules.suffixes = append(rules.suffixes, suffix)
		} else {
			rules.names[name] = true
		}
	}
	return rules, nil
}

func (h *hostRules) serves(hostPort string) bool {
	host := strings.ToLower(hostOf(hostPort))
	if h.names[host] {
		return true
	}
	if addr, err := netip.ParseAddr(host); err == nil && addr.Zone() == "" {
		return true
	}
	for _, s := range h.suffixes {
		if len(host) > len(s) && strings.HasSuffix(host, s) {
			return true
		}
	}
	return false
}

// hostOf cuts the port, the brackets of an IPv6 address and the final dot off.
func hostOf(hostPort string) string {
	host := hostPort
	if strings.HasPrefix(host, "[") {
		inside, rest, ok := strings.Cut(host[1:], "]")
		if !ok || rest != "" && rest[0] != ':' {
			return hostPort
		}
		return inside
	}
	if i := strings.LastIndexByte(host, ':'); i >= 0 {
		host = host[:i]
	}
	return strings.TrimSuffix(host, ".")
}

// proxyRules are the proxies whose word about the sender is taken.
type proxyRules struct{ nets []netip.Prefix }

func newProxyRules(list []string) (proxyRules, error) {
	var rules proxyRules
	for _, p := range list {
		if addr, err := netip.ParseAddr(p); err == nil {
			rules.nets = append(rules.nets, netip.PrefixFrom(addr.Unmap(), addr.Unmap().BitLen()))
			continue
		}
		prefix, err := netip.ParsePrefix(p)
		if err != nil {
			return proxyRules{}, fmt.Errorf("trusted proxy %q is neither an address nor a network", p)
		}
		rules.nets = append(rules.nets, prefix.Masked())
	}
	return rules, nil
}

func (p *proxyRules) trusts(a netip.Addr) bool {
	for _, n := range p.nets {
		if n.Contains(a) {
			return true
		}
	}
	return false
}

// secure reports whether the request came over TLS: to this server, or to a trusted
// proxy that says so in X-Forwarded-Proto.
func (p *proxyRules) secure(r *http.Request) bool {
	if r.TLS != nil {
		return true
	}
	said := r.Header["X-Forwarded-Proto"]
	if len(p.nets) == 0 || len(said) == 0 {
		return false
	}
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil || !p.trusts(peer.Addr().Unmap().WithZone("")) {
		return false
	}
	last := said[len(said)-1]
	return strings.EqualFold(strings.TrimSpace(last[strings.LastIndexByte(last, ',')+1:]), "https")
}

// source is the address the request came from. Each proxy appends whom it heard
// from, so the list is read from its end for as long as the speaker is trusted.
func (p *proxyRules) source(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = r.RemoteAddr
	}
	addr, err := netip.ParseAddr(host)
	if err != nil || len(p.nets) == 0 && addr.Is4() {
		return host // an IPv4 address has one spelling only
	}
	// A zone names an interface of ours, and in a header it can be any text.
	addr = addr.Unmap().WithZone("")
	if len(p.nets) == 0 {
		return addr.String()
	}
	heard := strings.Split(strings.Join(r.Header["X-Forwarded-For"], ","), ",")
	for i := len(heard) - 1; i >= 0 && p.trusts(addr); i-- {
		next, err := netip.ParseAddr(strings.TrimSpace(heard[i]))
		if err != nil {
			break
		}
		addr = next.Unmap().WithZone("")
	}
	return addr.String()
}

// quotable cuts a part of the request down to what may stand in an error text.
func quotable(s string) string {
	const max = 128
	if len(s) > max {
		s = s[:max] + "..."
	}
	return strings.ToValidUTF8(s, "?")
}
