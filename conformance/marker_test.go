package conformance_test

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"arca/conformance/target"
	"arca/internal/api"
	"arca/internal/api/smapi"
)

// A marker stands in every sensitive member of every operation, in requests that
// succeed and in requests that are refused in as many ways as there are. It must
// come out only where an answer is meant to hold it: not in a log, the audit log, the
// database, an error text or a dump. The members are found in the service's
// description, so an operation that is added is covered without a change here.
func TestMarkerStaysSecret(t *testing.T) {
	if shared.Server == nil {
		t.Skip("needs a server whose files it can read")
	}
	t.Parallel()
	m := &markerTest{t: t, server: shared.Server.Start(t), marker: randomWord("MARKER")}
	// Names and the like are no secrets to the audit log, but the database shows
	// none of them either.
	m.name = randomWord("NAMED")

	m.secretID = m.create("value", in{"SecretString": m.marker})
	m.scheduledID = m.create("scheduled", in{"SecretString": m.marker})
	m.ok("DeleteSecret", in{"SecretId": m.scheduledID})
	m.plantInputs()
	m.readOutputs()

	m.search("while the server runs")
	m.searchText("the output of the server", m.server.Output())
	if err := m.server.Stop(); err != nil {
		t.Fatal(err)
	}
	m.search("after the server ended")
	m.searchText("the output of the server at its end", m.server.Output())
	dump, err := exec.Command(m.server.Binary, "store", "dump", "--data-dir", m.server.Home).CombinedOutput()
	if err != nil {
		t.Fatalf("store dump: %v\n%s", err, dump)
	}
	if !bytes.Contains(dump, []byte(m.name)) {
		t.Error("the dump does not name the secrets: it cannot be the whole of them")
	}
	m.searchText("arca store dump", string(dump))
	if m.planted < 100 {
		t.Errorf("the marker was sent in %d requests, want at least 100: the test has lost its way", m.planted)
	}
}

// in is short for the members of a request.
type in map[string]any

type markerTest struct {
	t      *testing.T
	server *target.Server
	// marker is in every sensitive member, name in names, descriptions, tags and policies.
	marker, name string
	// secretID has a value, scheduledID is scheduled for deletion.
	secretID, scheduledID string
	planted               int
	passwords             []string
}

// randomWord is long enough for every pattern a member has, and never a coincidence.
func randomWord(prefix string) string {
	b := make([]byte, 20)
	_, _ = rand.Read(b) // never fails: it ends the program instead
	return prefix + hex.EncodeToString(b)
}

// create makes a secret whose every text that is not sensitive holds m.name.
func (m *markerTest) create(what string, rest in) (arn string) {
	m.t.Helper()
	body := in{
		"Name": m.name + "/" + what, "Description": "about " + m.name, "ClientRequestToken": randomWord("")[:36],
		"Tags": []in{{"Key": m.name + "-key", "Value": m.name + "-value"}},
	}
	maps.Copy(body, rest)
	arn = m.ok("CreateSecret", body)["ARN"].(string)
	m.ok("PutResourcePolicy", in{"SecretId": arn, "ResourcePolicy": `{"Version":"2012-10-17","Statement":[{"Sid":"` + m.name +
		`","Effect":"Deny","Principal":"*","Action":"secretsmanager:GetResourcePolicy","Resource":"*","Condition":{"StringEquals":{"aws:PrincipalTag/a":"` + m.name + `"}}}]}`})
	return arn
}

// ok makes a call that must succeed.
func (m *markerTest) ok(op string, body in) map[string]any {
	m.t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		m.t.Fatal(err)
	}
	status, answer := m.send("secretsmanager."+op, string(text), nil)
	var out map[string]any
	if err := json.Unmarshal([]byte(answer), &out); err != nil || status != http.StatusOK {
		m.t.Fatalf("%s answers %d %s", op, status, answer)
	}
	return out
}

// send makes a request; change alters it after it was signed.
func (m *markerTest) send(xAmzTarget, body string, change func(*http.Request)) (status int, answer string) {
	m.t.Helper()
	req, err := http.NewRequestWithContext(m.t.Context(), http.MethodPost, m.server.URL+"/", strings.NewReader(body))
	if err != nil {
		m.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-amz-json-1.1")
	req.Header.Set("X-Amz-Target", xAmzTarget)
	sum := sha256.Sum256([]byte(body))
	creds := aws.Credentials{AccessKeyID: target.AccessKeyID, SecretAccessKey: target.SecretAccessKey}
	if err := v4.NewSigner().SignHTTP(m.t.Context(), creds, req, hex.EncodeToString(sum[:]), "secretsmanager", target.Region, time.Now()); err != nil {
		m.t.Fatal(err)
	}
	if change != nil {
		change(req)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		m.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		m.t.Fatal(err)
	}
	m.searchText("the headers of an answer to "+xAmzTarget, fmt.Sprint(resp.Header))
	return resp.StatusCode, string(b)
}

// plantInputs sends the marker in every sensitive member of every input.
func (m *markerTest) plantInputs() {
	for _, op := range smapi.Service.Operations {
		for i := range op.Input.Fields {
			f := &op.Input.Fields[i]
			for _, value := range m.sensitiveValues(f.Shape) {
				m.plant(op, f, value)
			}
		}
	}
}

// plantedValue is JSON text that holds the marker, valid for its member or not.
type plantedValue struct {
	what, json string
}

// sensitiveValues are the values to send in a member; none if nothing in it is
// sensitive. A structure with a sensitive member is not known yet: the description
// has none, and the day it has one this test says so.
func (m *markerTest) sensitiveValues(sh *api.Shape) []plantedValue {
	if !hasSensitive(sh) {
		return nil
	}
	quoted := func(s string) string {
		b, _ := json.Marshal(s) // a string can always be encoded
		return string(b)
	}
	wrong := []plantedValue{
		{"a list", `[` + quoted(m.marker) + `]`},
		{"an object", `{` + quoted(m.marker) + `:` + quoted(m.marker) + `}`},
		{"a bare word", m.marker},
		{"a string that does not end", quoted(m.marker)[:len(m.marker)]},
		{"a bad escape", `"` + m.marker + `\x"`},
		{"bytes that are no text", "\"" + m.marker + "\xff\""},
		{"a number first", `1` + quoted(m.marker)},
	}
	long := strings.Repeat(m.marker, int(sh.Max)/len(m.marker)+1)
	switch sh.Kind {
	case api.String:
		return append(wrong,
			plantedValue{"valid", quoted(m.marker)},
			plantedValue{"with characters out of the pattern", quoted("!" + m.marker + "\u0007")},
			plantedValue{"too long", quoted(long)})
	case api.Blob:
		return append(wrong,
			plantedValue{"valid", quoted(base64.StdEncoding.EncodeToString([]byte(m.marker)))},
			plantedValue{"not base64", quoted(m.marker + "%")},
			plantedValue{"too long", quoted(base64.StdEncoding.EncodeToString([]byte(long)))})
	}
	m.t.Errorf("a member of shape %s holds something sensitive, and this test cannot make one", sh.Name)
	return nil
}

// hasSensitive reports whether a shape is sensitive or holds what is.
func hasSensitive(sh *api.Shape) bool {
	if sh.Sensitive || sh.Elem != nil && hasSensitive(sh.Elem) || sh.Key != nil && hasSensitive(sh.Key) {
		return true
	}
	return slices.ContainsFunc(sh.Fields, func(f api.Field) bool { return hasSensitive(f.Shape) })
}

// plant sends one value of one member in every surrounding: on a secret that is
// there, is not, or is scheduled for deletion, without the rest, twice in a request,
// with a token that is taken, cut off, unsigned, and for an operation nobody has.
func (m *markerTest) plant(op *api.Operation, f *api.Field, v plantedValue) {
	members := func(secretID, token string, skip string) string {
		var b strings.Builder
		for i := range op.Input.Fields {
			other := &op.Input.Fields[i]
			value, ok := m.plain(other, secretID, token)
			if other == f || !ok || other.Name == skip {
				continue
			}
			fmt.Fprintf(&b, "%q:%s,", other.Name, value)
		}
		return b.String()
	}
	body := func(others string) string { return fmt.Sprintf(`{%s%q:%s}`, others, f.Name, v.json) }
	fresh := func() string { return randomWord("")[:32] }
	good := members(m.secretID, fresh(), "")
	taken := fresh()
	for _, request := range []struct {
		what, target, body string
		change             func(*http.Request)
	}{
		{"as it should be", op.Name, body(good), nil},
		{"on a scheduled secret", op.Name, body(members(m.scheduledID, fresh(), "")), nil},
		{"on no secret", op.Name, body(members("none", fresh(), "")), nil},
		{"on a bad name", op.Name, body(members("Inv Name", fresh(), "")), nil},
		{"without the rest", op.Name, body(""), nil},
		{"without a token", op.Name, body(members(m.secretID, "", "ClientRequestToken")), nil},
		{"with a first token", op.Name, body(members(m.secretID, taken, "")), nil},
		{"with the same token", op.Name, strings.Replace(body(members(m.secretID, taken, "")), m.marker, m.marker+"-other", 1), nil},
		{"twice", op.Name, fmt.Sprintf(`{%s%q:%s,%q:%s}`, good, f.Name, v.json, f.Name, v.json), nil},
		{"cut off", op.Name, strings.TrimSuffix(body(good), "}"), nil},
		{"with more behind it", op.Name, body(good) + v.json, nil},
		{"for an unknown operation", "NoSuchOperation", body(good), nil},
		{"for another operation", "ListSecrets", body(good), nil},
		{"with a wrong signature", op.Name, body(good), func(r *http.Request) {
			r.Header.Set("Authorization", r.Header.Get("Authorization")[:len(r.Header.Get("Authorization"))-4]+"0000")
		}},
		{"without a signature", op.Name, body(good), func(r *http.Request) { r.Header.Del("Authorization") }},
		{"as another type", op.Name, body(good), func(r *http.Request) { r.Header.Set("Content-Type", "text/plain") }},
		{"from a web page", op.Name, body(good), func(r *http.Request) { r.Header.Set("Origin", "https://evil.example") }},
	} {
		m.planted++
		status, answer := m.send("secretsmanager."+request.target, request.body, request.change)
		m.searchText(fmt.Sprintf("the answer to %s.%s, %s, %s (%d)", op.Name, f.Name, v.what, request.what, status), answer)
		if status >= 500 {
			m.t.Errorf("%s.%s, %s, %s: answer %d %s", op.Name, f.Name, v.what, request.what, status, answer)
		}
	}
}

// plain is a valid value for a member that surrounds the marker; false leaves it out.
func (m *markerTest) plain(f *api.Field, secretID, token string) (string, bool) {
	switch {
	case f.Token:
		return `"` + token + `"`, token != ""
	case f.Name == "SecretId":
		return `"` + secretID + `"`, true
	case f.Name == "Name":
		return `"` + m.name + `/` + randomWord("") + `"`, true
	case f.Required && f.Shape.Kind == api.String:
		return `"` + strings.Repeat("x", int(max(f.Shape.Min, 1))) + `"`, true
	case f.Required:
		m.t.Errorf("member %s is required, and this test cannot make one of shape %s", f.Name, f.Shape.Name)
	}
	return "", false
}

// readOutputs calls every operation that answers something sensitive. The marker
// must come back: else it was never stored, and its absence elsewhere says nothing.
func (m *markerTest) readOutputs() {
	calls := map[string]in{
		"GetSecretValue":      {"SecretId": m.secretID},
		"BatchGetSecretValue": {"SecretIdList": []string{m.secretID, m.scheduledID, "none"}},
		"GetRandomPassword":   {"PasswordLength": 64, "ExcludePunctuation": true},
	}
	for _, op := range smapi.Service.Operations {
		if op.Output == nil || !hasSensitive(op.Output) {
			continue
		}
		body, ok := calls[op.Name]
		if !ok {
			m.t.Errorf("%s answers something sensitive, and this test does not call it", op.Name)
			continue
		}
		out := m.ok(op.Name, body)
		if p, ok := out["RandomPassword"].(string); ok {
			m.passwords = append(m.passwords, p)
			continue
		}
		if !found(fmt.Sprint(out), m.marker) {
			m.t.Errorf("%s does not answer the value: %v", op.Name, out)
		}
	}
}

// search looks through every file of the server.
func (m *markerTest) search(when string) {
	m.t.Helper()
	files, audited := 0, false
	err := filepath.WalkDir(m.server.Home, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		files++
		rel, err := filepath.Rel(m.server.Home, path)
		if err != nil {
			return err
		}
		m.searchText(when+", the file "+rel, string(b))
		if strings.HasPrefix(rel, filepath.Join("data", "audit")) {
			audited = audited || strings.Contains(string(b), m.name)
		} else if found(string(b), m.name) {
			m.t.Errorf("%s, the file %s shows a name, a description, a tag or a policy", when, rel)
		}
		return nil
	})
	if err != nil {
		m.t.Fatal(err)
	}
	if files < 4 || !audited {
		m.t.Errorf("%s: %d files, and audit log found: %v; the test has lost its way", when, files, audited)
	}
}

// searchText complains about a sensitive value in a text.
func (m *markerTest) searchText(where, text string) {
	m.t.Helper()
	for _, word := range append(m.passwords, m.marker) {
		if found(text, word) {
			m.t.Errorf("a sensitive value is in %s", where)
		}
	}
}

// found reports whether a text holds a word, as it is or encoded as values are: in
// base64, wherever the word begins in the encoded bytes, or in hexadecimal.
func found(text, word string) bool {
	forms := []string{word, hex.EncodeToString([]byte(word))}
	for offset, skip := range []int{0, 2, 3} {
		encoded := base64.StdEncoding.EncodeToString(append(make([]byte, offset), word...))
		forms = append(forms, encoded[skip:len(encoded)-4])
	}
	return slices.ContainsFunc(forms, func(f string) bool { return strings.Contains(text, f) })
}

// The search must find what it is there to find.
func TestFound(t *testing.T) {
	word := randomWord("WORD")
	for what, text := range map[string]string{
		"plain":            "a" + word + "b",
		"hexadecimal":      hex.EncodeToString([]byte("x" + word)),
		"base64":           base64.StdEncoding.EncodeToString([]byte(word + "tail")),
		"base64 shifted 1": base64.StdEncoding.EncodeToString([]byte("x" + word + "tail")),
		"base64 shifted 2": base64.StdEncoding.EncodeToString([]byte("xy" + word + "tail")),
		"base64 shifted 3": base64.URLEncoding.EncodeToString([]byte("xyz" + word)),
	} {
		if !found(text, word) {
			t.Errorf("%s: not found in %q", what, text)
		}
	}
	if found(randomWord("OTHER"), word) {
		t.Error("found in a text that does not have it")
	}
}
