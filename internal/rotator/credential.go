package rotator

import (
	"encoding/json"
	"net/netip"
	"strconv"
	"strings"
	"unicode"
)

// credential is the value of a secret as the rotators read it, checked.
type credential struct {
	doc                          document
	host                         string
	port                         uint16
	username, password, database string
	masterARN                    string
	plain                        bool // without TLS, because the secret says so
}

// parseCredential reads a secret's value.
func (u users) parseCredential(text string) (*credential, error) {
	doc, err := parseDocument(text)
	if err != nil {
		return nil, err
	}
	c := &credential{doc: doc, port: u.engine.port, database: u.engine.database}
	if c.password, err = required(doc, "password"); err != nil {
		return nil, err
	}
	u.r.hide(c.password) // before anything else can go wrong
	engine, err := required(doc, "engine")
	if err != nil {
		return nil, err
	}
	if !u.engine.is(engine) {
		return nil, errorf(InvalidSecret, "Database engine must be set to '%s' in order to use this rotation lambda", u.engine.names[0])
	}
	if c.host, err = required(doc, "host"); err != nil {
		return nil, err
	}
	if !validHost(c.host) {
		return nil, errorf(InvalidSecret, "host in the secret is neither a host name nor an address")
	}
	if c.username, err = required(doc, "username"); err != nil {
		return nil, err
	}
	if len(c.username) > u.engine.maxUser {
		return nil, errorf(InvalidSecret, "username in the secret is longer than %d bytes", u.engine.maxUser)
	}
	if name, ok, err := doc.text("dbname"); err != nil {
		return nil, err
	} else if ok && name != "" {
		c.database = name
	}
	if c.masterARN, _, err = doc.text("masterarn"); err != nil {
		return nil, err
	}
	for _, text := range []string{c.username, c.password, c.database} {
		if len(text) > maxText || strings.ContainsFunc(text, unicode.IsControl) {
			return nil, errorf(InvalidSecret, "username, password or dbname in the secret is too long or has control characters")
		}
	}
	if u.engine.oneWord && strings.ContainsFunc(c.username, unicode.IsSpace) {
		return nil, errorf(InvalidSecret, "username in the secret has spaces")
	}
	if c.port, err = port(doc, c.port); err != nil {
		return nil, err
	}
	c.plain, err = plain(doc)
	return c, err
}

// maxText bounds members that are sent to servers.
const maxText = 4096

func required(doc document, name string) (string, error) {
	text, ok, err := doc.text(name)
	if err != nil {
		return "", err
	}
	if !ok || text == "" {
		return "", errorf(InvalidSecret, "%s key is missing from secret JSON", name)
	}
	return text, nil
}

// port may be written as a number or as a text, as in the templates.
func port(doc document, otherwise uint16) (uint16, error) {
	raw, ok := doc.get("port")
	if !ok {
		return otherwise, nil
	}
	var text string
	if json.Unmarshal(raw, &text) != nil {
		text = strings.TrimSpace(string(raw))
	}
	if text == "" {
		return otherwise, nil
	}
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil || n == 0 {
		return 0, errorf(InvalidSecret, "port in the secret is not a number from 1 to 65535")
	}
	return uint16(n), nil
}

// plain reports whether the secret gives up TLS. Nothing else does: where AWS's
// templates fall back to a connection that anybody can listen to, because there is no
// ssl or a strange one, TLS stays.
func plain(doc document) (bool, error) {
	raw, ok := doc.get("ssl")
	if !ok {
		return false, nil
	}
	var secured bool
	if json.Unmarshal(raw, &secured) == nil {
		return !secured, nil
	}
	var text string
	if json.Unmarshal(raw, &text) == nil && strings.EqualFold(text, "false") {
		return true, nil
	}
	return false, nil
}

// validHost keeps out what drivers take for a file, for several hosts, or for more than
// a host.
func validHost(host string) bool {
	if addr, err := netip.ParseAddr(host); err == nil {
		return addr.Zone() == ""
	}
	return len(host) <= 253 && !strings.HasPrefix(host, "-") && !strings.ContainsFunc(host, func(c rune) bool {
		return !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '.' || c == '_')
	})
}

// sameServer reports whether two secrets mean one server. Other names of the same
// machine are other servers.
func sameServer(a, b *credential) bool {
	host := func(c *credential) string { return strings.ToLower(strings.TrimSuffix(c.host, ".")) }
	return host(a) == host(b) && a.port == b.port
}

// checkNewPassword refuses passwords that not all clients of a database would turn into
// the same bytes, and ones that the statements are not made for.
func checkNewPassword(password string) error {
	if strings.ContainsFunc(password, func(c rune) bool { return c < ' ' || c > '~' }) {
		return errorf(InvalidSecret, "the new password has characters other than printable ASCII")
	}
	return nil
}
