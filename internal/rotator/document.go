package rotator

import (
	"bytes"
	"encoding/json"
	"io"
	"strings"
)

// member is one member of a JSON object, its value as it was written.
type member struct {
	name  string
	value json.RawMessage
}

// document is a JSON object. What is not changed in it stays as it was, in its place:
// secrets hold more than a rotator knows of. Names are told apart by case, and may
// occur once: of two, a reader might take the one that was not checked.
type document []member

// parseDocument reads a secret's value. Its error says nothing of what it read.
func parseDocument(text string) (document, error) {
	bad := errorf(InvalidSecret, "the secret's value is not a JSON object with each member once")
	dec := json.NewDecoder(strings.NewReader(text))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return nil, bad
	}
	var d document
	seen := map[string]bool{}
	for dec.More() {
		t, err := dec.Token()
		name, ok := t.(string)
		if err != nil || !ok || seen[name] {
			return nil, bad
		}
		seen[name] = true
		m := member{name: name}
		if err := dec.Decode(&m.value); err != nil {
			return nil, bad
		}
		d = append(d, m)
	}
	if t, err := dec.Token(); err != nil || t != json.Delim('}') {
		return nil, bad
	}
	if _, err := dec.Token(); err != io.EOF { //nolint:errorlint // the end itself, not something that wraps it
		return nil, bad
	}
	return d, nil
}

// get returns the value of a member; null counts as absent, as in Python.
func (d document) get(name string) (json.RawMessage, bool) {
	for _, m := range d {
		if m.name == name {
			return m.value, !bytes.Equal(bytes.TrimSpace(m.value), []byte("null"))
		}
	}
	return nil, false
}

// text returns a member that is a string. ok is false when it is absent.
func (d document) text(name string) (s string, ok bool, err error) {
	raw, ok := d.get(name)
	if !ok {
		return "", false, nil
	}
	if json.Unmarshal(raw, &s) != nil {
		return "", false, errorf(InvalidSecret, "%s in the secret is not a string", name)
	}
	return s, true, nil
}

// with returns a copy in which a member that is there has another text.
func (d document) with(name, text string) document {
	out := append(document(nil), d...)
	for i := range out {
		if out[i].name == name {
			out[i].value = quote(text)
		}
	}
	return out
}

// String writes the object.
func (d document) String() string {
	var b strings.Builder
	b.WriteByte('{')
	for i, m := range d {
		if i > 0 {
			b.WriteString(", ")
		}
		b.Write(quote(m.name))
		b.WriteString(": ")
		b.Write(m.value)
	}
	b.WriteByte('}')
	return b.String()
}

func quote(s string) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(s) // a string can always be written
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}
