package rotator_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"arca/internal/dbtest"
	"arca/internal/rotator"
)

func TestParseEvent(t *testing.T) {
	got, err := rotator.ParseEvent([]byte(`{"Step":"createSecret","SecretId":"arn:s","ClientRequestToken":"t","RotationToken":"r","More":1}`))
	want := rotator.Event{Step: "createSecret", SecretID: "arn:s", ClientRequestToken: "t", RotationToken: "r"}
	if err != nil || got != want {
		t.Errorf("ParseEvent = %+v, %v, want %+v", got, err, want)
	}
	for name, payload := range map[string]string{
		"nothing": ``, "null": `null`, "a list": `[]`, "no step": `{"SecretId":"a","ClientRequestToken":"t"}`,
		"another case": `{"step":"createSecret","SecretId":"a","ClientRequestToken":"t"}`,
		"a number":     `{"Step":1,"SecretId":"a","ClientRequestToken":"t"}`,
		"empty":        `{"Step":"createSecret","SecretId":"","ClientRequestToken":"t"}`,
		"long":         `{"Step":"createSecret","SecretId":"a","ClientRequestToken":"` + strings.Repeat("t", 16<<10) + `"}`,
	} {
		if _, err := rotator.ParseEvent([]byte(payload)); errorType(err) != rotator.InvalidEvent {
			t.Errorf("%s: error %v, want %s", name, err, rotator.InvalidEvent)
		}
	}
}

func FuzzParseEvent(f *testing.F) {
	f.Add([]byte(`{"Step":"createSecret","SecretId":"arn:s","ClientRequestToken":"t","RotationToken":"r"}`))
	f.Add([]byte(`{"Step":null}`))
	f.Fuzz(func(t *testing.T, payload []byte) {
		if e, err := rotator.ParseEvent(payload); err == nil && (e.Step == "" || e.SecretID == "" || e.ClientRequestToken == "") {
			t.Errorf("ParseEvent(%q) = %+v", payload, e)
		}
	})
}

func TestDocument(t *testing.T) {
	for _, tc := range []struct{ name, in, want string }{
		{"others stay as they are", `{"b":1.50,"password":"x","a":{"z":[1, 2]},"c":null,"d":12345678901234567890}`,
			`{"b": 1.50, "password": "<&'\"\\>", "a": {"z":[1, 2]}, "c": null, "d": 12345678901234567890}`},
		{"absent", ` { } `, `{}`},
	} {
		got, err := rotator.Document(tc.in, "password", `<&'"\>`)
		if err != nil || got != tc.want {
			t.Errorf("%s: %s, %v, want %s", tc.name, got, err, tc.want)
		}
	}
}

func FuzzDocument(f *testing.F) {
	f.Add(`{"engine":"postgres","host":"db","port":"5432","username":"u","password":"p","ssl":true}`, "new")
	f.Add(`{"a":{"a":1,"b":[{"c":null}]},"password":7}`, "\x00\xff")
	f.Fuzz(func(t *testing.T, text, value string) {
		out, err := rotator.Document(text, "password", value)
		if err != nil {
			return
		}
		var before, after map[string]any
		if err := json.Unmarshal([]byte(text), &before); err != nil {
			t.Fatalf("accepted %q: %v", text, err)
		}
		if err := json.Unmarshal([]byte(out), &after); err != nil {
			t.Fatalf("wrote %q: %v", out, err)
		}
		if _, ok := before["password"]; ok {
			before["password"] = strings.ToValidUTF8(value, "\ufffd")
			if v := after["password"]; v != before["password"] && strings.ToValidUTF8(value, "") == value {
				t.Errorf("password = %q, want %q", v, value)
			}
			delete(before, "password")
			delete(after, "password")
		}
		if diff := cmp.Diff(before, after); diff != "" {
			t.Errorf("others changed: %s", diff)
		}
	})
}

func FuzzCredential(f *testing.F) {
	f.Add(`{"engine":"postgres","host":"db.example","port":5432,"username":"u","password":"p","dbname":"d","ssl":"false"}`)
	f.Add(`{"engine":"postgres","host":"::1","port":"1","username":"u","password":"p","dbname":null,"ssl":true}`)
	f.Fuzz(func(t *testing.T, text string) {
		host, port, user, password, _, plain, err := rotator.Credential(text)
		if err != nil {
			if errorType(err) != rotator.InvalidSecret {
				t.Errorf("error %v", err)
			}
			return
		}
		if host == "" || port == 0 || user == "" || password == "" || strings.ContainsAny(host, "/,@% \\'\"") || strings.ContainsAny(user+password, "\x00\n") {
			t.Errorf("accepted host %q, port %d, user %q", host, port, user)
		}
		if plain && !strings.Contains(strings.ToLower(text), "false") {
			t.Errorf("gives up TLS without being told")
		}
	})
}

func TestRewriteGrant(t *testing.T) {
	const to = "'new'@'h'"
	for _, tc := range []struct{ row, want string }{
		{"GRANT USAGE ON *.* TO `app`@`%` IDENTIFIED BY PASSWORD '*D821809F681A40A6E379B50D0463EFAE20BDD122' REQUIRE SSL WITH MAX_USER_CONNECTIONS 100", "GRANT USAGE ON *.* TO 'new'@'h'"},
		{"GRANT ALL PRIVILEGES ON `x``y'z`.* TO `app`@`%` WITH GRANT OPTION", "GRANT ALL PRIVILEGES ON `x``y'z`.* TO 'new'@'h' WITH GRANT OPTION"},
		{"GRANT SELECT, INSERT ON `a TO b`.* TO `app`@`%`", "GRANT SELECT, INSERT ON `a TO b`.* TO 'new'@'h'"},
		{"GRANT UPDATE (`a`, `b TO c`) ON `d`.`t` TO `app`@`%`", "GRANT UPDATE (`a`, `b TO c`) ON `d`.`t` TO 'new'@'h'"},
		{"GRANT `r1` TO `app`@`%` WITH ADMIN OPTION", "GRANT `r1` TO 'new'@'h' WITH ADMIN OPTION"},
		{"GRANT `r1`@`%`,`r2`@`%` TO `app`@`%`", "GRANT `r1`@`%`,`r2`@`%` TO 'new'@'h'"},
		{"SET DEFAULT ROLE `r1` FOR `app`@`%`", "SET DEFAULT ROLE `r1` FOR 'new'@'h'"},
		{"GRANT PROXY ON ''@'%' TO 'app'@'%' WITH GRANT OPTION", "GRANT PROXY ON ''@'%' TO 'new'@'h' WITH GRANT OPTION"},
		{"REVOKE SELECT ON `mysql`.* FROM `app`@`%`", "REVOKE SELECT ON `mysql`.* FROM 'new'@'h'"},
		{"GRANT EXECUTE ON PROCEDURE `d`.`p` TO 'a TO b'@'%'", "GRANT EXECUTE ON PROCEDURE `d`.`p` TO 'new'@'h'"},
		{"GRANT USAGE ON *.* TO `app`@`%` REQUIRE SUBJECT '/CN=x WITH GRANT OPTION'", "GRANT USAGE ON *.* TO 'new'@'h'"},
		{"GRANT USAGE ON *.* TO `app`@`%` IDENTIFIED VIA ed25519 USING 'a\\'b' OR unix_socket", "GRANT USAGE ON *.* TO 'new'@'h'"},
		{"GRANT SELECT ON *.* TO `app`@`%`; DROP USER super", ""},
		{"GRANT SELECT ON *.* TO `app`@`%", ""},
		{"GRANT SELECT ON /* x */ *.* TO `app`@`%`", ""},
		{"GRANT SELECT ON *.* TO `a`@`%` TO `b`@`%`", ""},
		{"GRANT SELECT ON *.* TO", ""},
		{"GRANT TO `a`@`%` `b`", ""},
		{"GRANT SELECT -- TO `app`@`%`", ""},
		{"DROP USER `a` TO `b`", ""},
		{"", ""},
	} {
		got, err := rotator.RewriteGrant(tc.row, to)
		if got != tc.want || (err != nil) != (tc.want == "") {
			t.Errorf("RewriteGrant(%s) = %s, %v, want %s", tc.row, got, err, tc.want)
		}
	}
}

func FuzzRewriteGrant(f *testing.F) {
	f.Add("GRANT ALL PRIVILEGES ON `x``y'z`.* TO `app`@`%` WITH GRANT OPTION")
	f.Add("GRANT USAGE ON *.* TO 'a\\'b'@'%' IDENTIFIED BY PASSWORD '*D8'")
	f.Add("SET DEFAULT ROLE `r1` FOR `app`@`%`")
	f.Fuzz(func(t *testing.T, row string) {
		out, err := rotator.RewriteGrant(row, "'new'@'h'")
		if err != nil {
			return
		}
		// It is understood the same way again, and changes nothing but what it was to.
		again, err := rotator.RewriteGrant(out, "'new'@'h'")
		if err != nil || again != out {
			t.Errorf("%q became %q, and that %q (%v)", row, out, again, err)
		}
		_ = rotator.UsesNativePassword(row)
	})
}

func TestUsesNativePassword(t *testing.T) {
	for made, want := range map[string]bool{
		"CREATE USER `app`@`%` IDENTIFIED BY PASSWORD '*D821809F681A40A6E379B50D0463EFAE20BDD122' REQUIRE SSL":                        true,
		"CREATE USER `app`@`%` IDENTIFIED VIA ed25519 USING 'vw9tS5'":                                                                 false,
		"CREATE USER `app`@`%` IDENTIFIED VIA unix_socket OR mysql_native_password USING '*D821809F681A40A6E379B50D0463EFAE20BDD122'": false,
		"CREATE USER `app`@`%`":                        false,
		"CREATE USER `IDENTIFIED BY PASSWORD x`@`%` x": false,
	} {
		if got := rotator.UsesNativePassword(made); got != want {
			t.Errorf("UsesNativePassword(%s) = %v", made, got)
		}
	}
}

func TestTLSDemands(t *testing.T) {
	for _, tc := range []struct{ kind, cipher, issuer, subject, want string }{
		{"", "", "", "", "NONE"},
		{"ANY", "", "", "", "SSL"},
		{"X509", "", "", "", "X509"},
		{"SPECIFIED", "A", "/CN=i'", "/CN=s", `CIPHER 'A' AND ISSUER '/CN=i\'' AND SUBJECT '/CN=s'`},
		{"SPECIFIED", "", "", "/CN=s", `SUBJECT '/CN=s'`},
		{"SPECIFIED", "", "", "", ""},
		{"NEW", "", "", "", ""},
	} {
		got, err := rotator.TLSDemands(tc.kind, tc.cipher, tc.issuer, tc.subject)
		if got != tc.want || (err != nil) != (tc.want == "") {
			t.Errorf("TLSDemands(%s) = %s, %v, want %s", tc.kind, got, err, tc.want)
		}
	}
}

// TestQuoteMySQL: the server reads a quoted text as what it was.
func TestQuoteMySQL(t *testing.T) {
	t.Parallel()
	db := dbtest.MariaDB(t).MariaDB(t)
	db.SetMaxOpenConns(1)
	if _, err := db.ExecContext(t.Context(), "SET SESSION sql_mode = ''"); err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(rt *rapid.T) {
		text := rapid.StringOf(rapid.OneOf(rapid.SampledFrom([]rune("'\"\\`\x00\n\r\x1a%_;?-#/* \t")), rapid.Rune())).Draw(rt, "text")
		var got string
		if err := db.QueryRowContext(t.Context(), "SELECT "+rotator.QuoteMySQL(text)).Scan(&got); err != nil || got != text {
			rt.Errorf("%q is read as %q, %v", text, got, err)
		}
	})
}

func TestReadReply(t *testing.T) {
	for _, tc := range []struct {
		in   string
		want any
	}{
		{"+OK\r\n", "OK"}, {":-7\r\n", int64(-7)}, {"$-1\r\n", nil}, {"$3\r\na\r\n\r\n", "a\r\n"}, {"*0\r\n", []any(nil)},
		{"*2\r\n$1\r\na\r\n*1\r\n:1\r\n", []any{"a", []any{int64(1)}}},
	} {
		got, err := rotator.ReadReply(tc.in)
		if diff := cmp.Diff(tc.want, got); err != nil || diff != "" {
			t.Errorf("ReadReply(%q): %v\n%s", tc.in, err, diff)
		}
	}
	for _, bad := range []string{"", "\r\n", "x\r\n", "+OK\n", "+OK", ":x\r\n", "$5\r\nabc\r\n", "$3\r\nabcde", "$1048577\r\n", "*100001\r\n", "*2\r\n+a\r\n", "*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n+a\r\n", "$x\r\n"} {
		if got, err := rotator.ReadReply(bad); err == nil {
			t.Errorf("ReadReply(%q) = %v", bad, got)
		}
	}
}

func FuzzReadReply(f *testing.F) {
	for _, s := range []string{"+OK\r\n", "-ERR x\r\n", ":1\r\n", "$1\r\na\r\n", "*2\r\n$1\r\na\r\n*1\r\n:1\r\n", "$9223372036854775807\r\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) { _, _ = rotator.ReadReply(s) })
}
