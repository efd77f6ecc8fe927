package rotator

import (
	"errors"
	"fmt"
	"strings"
)

// nativePlugin is MariaDB's usual way to keep passwords.
const nativePlugin = "mysql_native_password"

// quoteMySQL writes a string literal as a server reads it whose sql_mode is empty.
func quoteMySQL(s string) string {
	var b strings.Builder
	b.WriteByte('\'')
	for i := range len(s) {
		switch c := s[i]; c {
		case '\'', '\\', '"':
			b.WriteByte('\\')
			b.WriteByte(c)
		case 0:
			b.WriteString(`\0`)
		case '\n':
			b.WriteString(`\n`)
		case '\r':
			b.WriteString(`\r`)
		case 0x1a:
			b.WriteString(`\Z`)
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte('\'')
	return b.String()
}

// errGrant: a row of SHOW GRANTS that is not understood, and so not copied.
var errGrant = errors.New("a form that is not known")

// rewriteGrant turns a row of SHOW GRANTS into the statement that gives the same to
// another account. Whatever else MariaDB tells in such a row, the password's hash
// among it, is left out.
func rewriteGrant(row, to string) (string, error) {
	words, err := splitGrant(row)
	if err != nil {
		return "", err
	}
	link := ""
	switch strings.ToUpper(words[0]) {
	case "GRANT":
		link = "TO"
	case "REVOKE": // a part that MySQL takes away again
		link = "FROM"
	case "SET": // DEFAULT ROLE, in MariaDB
		link = "FOR"
	default:
		return "", errGrant
	}
	at := -1
	for i, w := range words {
		if strings.EqualFold(w, link) {
			if at >= 0 {
				return "", errGrant
			}
			at = i
		}
	}
	if at < 2 || at+1 >= len(words) { // something to give, and somebody
		return "", errGrant
	}
	statement := strings.Join(words[:at+1], " ") + " " + to
	for i := at + 3; i < len(words); i++ {
		if kind := strings.ToUpper(words[i-1]); (kind == "GRANT" || kind == "ADMIN") && strings.EqualFold(words[i], "OPTION") {
			statement += " WITH " + kind + " OPTION"
		}
	}
	return statement, nil
}

// grantedRole tells which role a row of SHOW GRANTS gives: there is no ON in it.
func grantedRole(row string) (string, bool) {
	words, err := splitGrant(row)
	if err != nil || !strings.EqualFold(words[0], "GRANT") {
		return "", false
	}
	for i, w := range words {
		if strings.EqualFold(w, "ON") {
			return "", false
		}
		if strings.EqualFold(w, "TO") {
			return strings.Join(words[1:i], " "), true
		}
	}
	return "", false
}

// grantBytes are what a grant consists of outside of quotes.
const grantBytes = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_,.*()@"

// splitGrant splits a statement at spaces outside of quotes. Names are quoted with
// backticks, in which a backtick is doubled; literals with ', in which it is doubled or
// escaped.
func splitGrant(row string) ([]string, error) {
	var words []string
	var word strings.Builder
	for i := 0; i < len(row); i++ {
		switch c := row[i]; c {
		case ' ':
			if word.Len() > 0 {
				words = append(words, word.String())
				word.Reset()
			}
		case '`', '\'':
			end, err := endOfQuoted(row, i)
			if err != nil {
				return nil, err
			}
			word.WriteString(row[i:end])
			i = end - 1
		default:
			if !strings.ContainsRune(grantBytes, rune(c)) {
				return nil, errGrant
			}
			word.WriteByte(c)
		}
	}
	if word.Len() > 0 {
		words = append(words, word.String())
	}
	if len(words) < 4 {
		return nil, errGrant
	}
	return words, nil
}

// endOfQuoted is the index after what is quoted from start on.
func endOfQuoted(row string, start int) (int, error) {
	quote := row[start]
	for i := start + 1; i < len(row); i++ {
		switch {
		case quote == '\'' && row[i] == '\\':
			i++
		case row[i] == quote && i+1 < len(row) && row[i+1] == quote:
			i++
		case row[i] == quote:
			return i + 1, nil
		}
	}
	return 0, errGrant
}

// usesNativePassword reports whether a statement of SHOW CREATE USER is for an account
// with mysql_native_password and no other plugin.
func usesNativePassword(made string) bool {
	words, err := splitGrant(made)
	if err != nil {
		return false
	}
	for i, w := range words {
		if strings.EqualFold(w, "IDENTIFIED") && i+2 < len(words) {
			return strings.EqualFold(words[i+1], "BY") && strings.EqualFold(words[i+2], "PASSWORD")
		}
	}
	return false
}

// tlsDemands is the REQUIRE clause of an account.
func tlsDemands(kind, cipher, issuer, subject string) (string, error) {
	switch kind {
	case "":
		return "NONE", nil
	case "ANY":
		return "SSL", nil
	case "X509":
		return "X509", nil
	case "SPECIFIED":
		var demands []string
		for _, d := range []struct{ word, value string }{{"CIPHER", cipher}, {"ISSUER", issuer}, {"SUBJECT", subject}} {
			if d.value != "" {
				demands = append(demands, d.word+" "+quoteMySQL(d.value))
			}
		}
		if len(demands) > 0 {
			return strings.Join(demands, " AND "), nil
		}
	}
	return "", errorf(DatabaseError, "the user's demands on TLS are not understood")
}

// limitClause is how much an account may do in an hour, and at once.
func limitClause(limits [4]uint32) string {
	return fmt.Sprintf("MAX_QUERIES_PER_HOUR %d MAX_UPDATES_PER_HOUR %d MAX_CONNECTIONS_PER_HOUR %d MAX_USER_CONNECTIONS %d",
		limits[0], limits[1], limits[2], limits[3])
}
