package secrets

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"arca/internal/call"
	"arca/internal/store"
)

const (
	// redacted stands where a secret stood.
	redacted = "[REDACTED]"
	// minRedacted is the length below which a part of a value is no secret, but would make
	// holes in every line: a port, a yes.
	minRedacted = 4
	// maxRedacted is how much of an output is looked at, its end; maxWords is for how many
	// texts. A secret may hold thousands of short ones, and whoever makes such secrets
	// must not keep the engine from its other work.
	maxRedacted = 64 << 10
	maxWords    = 4 << 10
	// minEdge and maxEdge are how much of an end of a secret has to be there to be taken
	// for a secret that was cut off: half of it, within these bounds.
	minEdge = 6
	maxEdge = 12
	// withheld is what is kept of an output that may hold secrets nobody could look for.
	withheld = "[output withheld: the values of the secret could not be looked for]"
)

// openFields are the members of database secrets that are no secrets: a timeline without
// user and host would tell nothing.
func openFields() []string {
	return []string{"engine", "host", "port", "username", "dbname", "dbInstanceIdentifier", "dbClusterIdentifier", "masterarn", "ssl"}
}

// Redact takes the secret out of what its function printed, of which it keeps the end: the
// values of its labelled versions and of the one that is being made, whole, in parts and
// cut off, as they are and in the encodings that programs print. It cannot know what a
// function turns them into. Other secrets that the function may read are not looked for:
// whoever writes a function could then find out by what is redacted whether he has
// guessed a secret that he may not read.
func (r *Rotations) Redact(ctx context.Context, claimed *Claimed, texts ...*string) {
	if !slices.ContainsFunc(texts, func(t *string) bool { return *t != "" }) {
		return
	}
	var w words
	err := r.secrets.store.View(ctx, func(v *store.Snap) (err error) {
		w, err = r.secrets.secretWords(ctx, v, &claimed.Job)
		return err
	})
	for _, t := range texts {
		if err != nil && *t != "" {
			*t = withheld
			continue
		}
		*t = w.redact((*t)[max(0, len(*t)-maxRedacted):])
	}
}

// words are what must not show, the longest first.
type words []word

type word struct {
	text string
	// document says that parts of it may show: they have words of their own, or are none
	// of the secret.
	document bool
}

// redact replaces the words, and then what is left of those of which an end is missing:
// an output is cut where its bounds say, which may be in the middle of a secret.
func (w words) redact(text string) string {
	for _, word := range w {
		text = strings.ReplaceAll(text, word.text, redacted)
	}
	for _, word := range w {
		if !word.document {
			text = redactHeads(redactTails(text, word.text), word.text)
		}
	}
	return text
}

func edge(word string) int { return min(max((len(word)+1)/2, minEdge), maxEdge) }

// An output is cut at the ends of its lines only: what stands before and after it are
// lines of others. In the midst of a line an end of a secret is a word like any other.

// redactHeads replaces what begins like the word at the end of a line.
func redactHeads(text, word string) string {
	n := edge(word)
	if len(word) <= n || !strings.Contains(text, word[:n]) {
		return text
	}
	var b strings.Builder
	for {
		before, after, found := strings.Cut(text, word[:n])
		b.WriteString(before)
		if !found {
			return b.String()
		}
		common := 0
		for n+common < len(word) && common < len(after) && word[n+common] == after[common] {
			common++
		}
		if rest := after[common:]; rest == "" || rest[0] == '\n' || rest[0] == '\r' {
			b.WriteString(redacted)
		} else {
			b.WriteString(word[:n] + after[:common])
		}
		text = after[common:]
	}
}

// redactTails replaces what ends like the word at the beginning of a line.
func redactTails(text, word string) string {
	n := edge(word)
	if len(word) <= n || !strings.Contains(text, word[len(word)-n:]) {
		return text
	}
	var b strings.Builder
	for {
		before, after, found := strings.Cut(text, word[len(word)-n:])
		if !found {
			b.WriteString(before)
			return b.String()
		}
		start := len(before)
		for m := len(word) - n; m > 0 && start > 0 && word[m-1] == before[start-1]; m-- {
			start--
		}
		if start == 0 && b.Len() == 0 || start > 0 && before[start-1] == '\n' {
			b.WriteString(before[:start] + redacted)
		} else {
			b.WriteString(before + word[len(word)-n:])
		}
		text = after
	}
}

// secretWords are what must not show of a secret.
func (s *Service) secretWords(ctx context.Context, v *store.Snap, j *RotationJob) (w words, err error) {
	sec := s.byUID(v, scopeOf(j.Account, j.Region), j.UID)
	if sec == nil {
		return nil, fmt.Errorf("secret %s is gone", j.UID)
	}
	set := make(wordSet)
	if err := s.addWords(ctx, v, sec, j.VersionID, set); err != nil {
		return nil, err
	}
	if len(set) > maxWords {
		return nil, fmt.Errorf("secret %s has more than %d texts", j.UID, maxWords)
	}
	for text, document := range set {
		w = append(w, word{text, document})
	}
	slices.SortFunc(w, func(a, b word) int {
		if d := len(b.text) - len(a.text); d != 0 {
			return d
		}
		return strings.Compare(a.text, b.text)
	})
	return w, nil
}

// wordSet has texts that must not show; true for documents.
type wordSet map[string]bool

// addWords adds what is secret in the labelled versions of a secret, and in the one that
// a rotation makes: somebody may have taken its label while the function ran.
func (s *Service) addWords(ctx context.Context, v *store.Snap, sec *Secret, pending string, set wordSet) error {
	// Nobody calls: the values are opened as their own account would open them.
	owner := &call.Call{Caller: call.Principal{Type: call.AWSService, Account: sec.Account}, Partition: sec.Partition, Region: sec.Region}
	for i := range sec.Versions {
		ver := &sec.Versions[i]
		if ver.Kind == NoValue || len(ver.Stages) == 0 && ver.ID != pending {
			continue
		}
		plain, err := s.openOwn(ctx, v, owner, sec, ver)
		if err != nil {
			return err
		}
		text := string(plain.Bytes())
		plain.Wipe()
		dec := json.NewDecoder(strings.NewReader(text))
		dec.UseNumber()
		var value any
		document := json.Valid([]byte(text)) && dec.Decode(&value) == nil
		set.add(text, document)
		if document {
			set.addLeaves("", value)
		}
	}
	return nil
}

func (set wordSet) addLeaves(field string, value any) {
	if len(set) > maxWords {
		return
	}
	switch value := value.(type) {
	case map[string]any:
		for k, e := range value {
			set.addLeaves(k, e)
		}
	case []any:
		for _, e := range value {
			set.addLeaves(field, e)
		}
	case string:
		if !slices.Contains(openFields(), field) {
			set.add(value, false)
		}
	case json.Number:
		if !slices.Contains(openFields(), field) {
			set.add(value.String(), false)
		}
	}
}

// add adds a text in the forms in which programs print one.
func (set wordSet) add(text string, document bool) {
	if len(text) < minRedacted {
		return
	}
	raw := []byte(text)
	doubled := strings.ReplaceAll(text, `\`, `\\`)
	forms := []string{
		text, quoted(text, true), quoted(text, false), doubled,
		strings.ReplaceAll(text, "'", "''"), strings.ReplaceAll(doubled, "'", `\'`),
		url.QueryEscape(text), url.PathEscape(text), hex.EncodeToString(raw),
		base64.StdEncoding.EncodeToString(raw), base64.RawURLEncoding.EncodeToString(raw),
	}
	for _, f := range forms {
		if len(f) >= minRedacted {
			set[f] = set[f] || document
		}
	}
}

// quoted is a text as it stands in JSON between the quotes; html says that what HTML
// would need escaped is.
func quoted(text string, html bool) string {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(html)
	_ = enc.Encode(text) // a string always encodes
	return strings.TrimSuffix(strings.TrimPrefix(strings.TrimSuffix(b.String(), "\n"), `"`), `"`)
}
