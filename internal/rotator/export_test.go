package rotator

import (
	"bufio"
	"strings"
)

var (
	RewriteGrant       = rewriteGrant
	QuoteMySQL         = quoteMySQL
	UsesNativePassword = usesNativePassword
	TLSDemands         = tlsDemands
)

// ReadReply reads one answer of Redis.
func ReadReply(s string) (any, error) {
	return readReply(bufio.NewReaderSize(strings.NewReader(s), maxReplyLine))
}

// Document parses an object and sets a member.
func Document(text, name, value string) (string, error) {
	d, err := parseDocument(text)
	if err != nil {
		return "", err
	}
	return d.with(name, value).String(), nil
}

// Credential parses a PostgreSQL secret and tells what came of it.
func Credential(text string) (host string, port uint16, user, password, database string, plain bool, err error) {
	u := users{r: &rotation{}, engine: postgres}
	c, err := u.parseCredential(text)
	if err != nil {
		return "", 0, "", "", "", false, err
	}
	return c.host, c.port, c.username, c.password, c.database, c.plain, nil
}
