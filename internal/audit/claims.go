package audit

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"arca/internal/merkle"
)

// ReadKey is the verifier key that lies in a node's directory; of a former log, which is
// kept in a directory below its node's, that of the node. Whoever can write there can put
// another one.
func ReadKey(dir string) (string, error) {
	text, err := readNote(filepath.Join(dir, keyFileName))
	if errors.Is(err, fs.ErrNotExist) {
		// The name may be ".".
		if whole, absErr := filepath.Abs(dir); absErr == nil && strings.HasPrefix(filepath.Base(whole), lostPrefix) {
			dir = filepath.Dir(whole)
			text, err = readNote(filepath.Join(dir, keyFileName))
		}
	}
	if err != nil {
		return "", err
	}
	key := strings.TrimSpace(string(text))
	if _, err := note.NewVerifier(key); err != nil {
		return "", fmt.Errorf("key in %s: %w", dir, err)
	}
	return key, nil
}

// ReadCheckpoint is the newest checkpoint that lies in a node's directory, if one of
// the keys signed it.
func ReadCheckpoint(dir string, vkeys ...string) (merkle.Checkpoint, error) {
	keys, err := newVerifiers(vkeys)
	if err != nil {
		return merkle.Checkpoint{}, err
	}
	text, err := readNote(filepath.Join(dir, checkpointName))
	if err != nil {
		return merkle.Checkpoint{}, err
	}
	return merkle.OpenCheckpoint(text, keys...)
}

func newVerifiers(vkeys []string) (keys []note.Verifier, err error) {
	for _, vkey := range vkeys {
		k, err := note.NewVerifier(strings.TrimSpace(vkey))
		if err != nil {
			return nil, fmt.Errorf("verifier key %q: %w", vkey, err)
		}
		keys = append(keys, k)
	}
	return keys, nil
}

func (v *verification) loadKeys() (err error) {
	if len(v.Keys) == 0 && v.Head != nil && v.Head.Key != "" {
		v.Keys = []string{v.Head.Key}
	}
	if len(v.Keys) == 0 {
		key, err := ReadKey(v.Dir)
		if errors.Is(err, fs.ErrNotExist) {
			return errors.New("no verifier key was given, and none is in the directory")
		} else if err != nil {
			return err
		}
		v.Keys = []string{key}
		v.warn("the verifier key was read from the directory itself: whoever could change the log could have changed the key, too")
	}
	v.keys, err = newVerifiers(v.Keys)
	return err
}

// loadClaims reads every checkpoint there is and keeps those about this log.
func (v *verification) loadClaims() error {
	var all []claim
	add := func(text []byte, source string) (merkle.Checkpoint, error) {
		c, err := merkle.OpenCheckpoint(text, v.keys...)
		if err == nil {
			all = append(all, claim{c, source})
		}
		return c, err
	}
	text, err := readNote(filepath.Join(v.Dir, checkpointName))
	if err == nil {
		c, err := add(text, "the checkpoint in the directory")
		if err != nil {
			v.problem(BadCheckpoint, 0, 0, "the checkpoint in the directory: %v", err)
		}
		v.report.Origin = c.Origin
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := v.loadClosing(add); err != nil {
		return err
	}
	for i, text := range v.Checkpoints {
		source := fmt.Sprintf("checkpoint %d of those kept elsewhere", i+1)
		if _, err := add(text, source); err != nil {
			v.problem(BadCheckpoint, 0, 0, "%s: %v", source, err)
		}
	}
	// In the directory of a former log, the head is that of another one: see compareHead.
	if v.Head != nil && v.Head.Checkpoint != nil && (v.report.Origin == "" || v.report.Origin == v.Head.Origin) {
		if c, err := add(v.Head.Checkpoint, "the head kept in etcd"); err != nil {
			v.problem(BadCheckpoint, 0, 0, "the head kept in etcd: %v", err)
		} else {
			v.head = &c
		}
	}
	v.choose(all)
	v.compareHead()
	if len(v.claims) == 0 {
		v.problem(BadCheckpoint, 0, 0, "there is no checkpoint signed by the key: nothing shows what the lines were")
	}
	return nil
}

// loadClosing reads the checkpoints that close segments.
func (v *verification) loadClosing(add func(text []byte, source string) (merkle.Checkpoint, error)) error {
	entries, err := os.ReadDir(filepath.Join(v.Dir, closingDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	bad, first := 0, ""
	for _, e := range entries {
		if _, _, ok := ParseSegmentName(e.Name() + segmentSuffix); !ok {
			continue // an unfinished one
		}
		text, err := readNote(filepath.Join(v.Dir, closingDir, e.Name()))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		} else if err != nil {
			return err
		}
		source := fmt.Sprintf("the checkpoint in %s/%s", closingDir, e.Name())
		c, err := add(text, source)
		if err == nil && fmt.Sprintf("%0*d", segmentDigits, c.Size) != e.Name() {
			err = fmt.Errorf("is one over %d lines: the file was replaced", c.Size)
		}
		if err != nil {
			if bad++; bad == 1 {
				first = fmt.Sprintf("%s: %v", source, err)
			}
		}
	}
	switch {
	case bad == 1:
		v.problem(BadCheckpoint, 0, 0, "%s", first)
	case bad > 1:
		v.problem(BadCheckpoint, 0, 0, "%s; and %d more of that directory", first, bad-1)
	}
	return nil
}

// choose keeps the claims about the log in the directory.
func (v *verification) choose(all []claim) {
	slices.SortStableFunc(all, func(a, b claim) int { return cmp.Compare(a.Size, b.Size) })
	origin := v.report.Origin
	if origin == "" && len(all) > 0 {
		origin = all[len(all)-1].Origin
		v.problem(BadCheckpoint, 0, 0, "the directory holds no checkpoint of its own that the key signed")
	}
	v.report.Origin = origin
	for _, c := range all {
		if c.Origin != origin {
			v.problem(Rewritten, 0, c.Size, "%s is of %s, and the directory holds %s: the log was begun anew, and the older one has to be verified where it was kept", c, c.Origin, origin)
			continue
		}
		n := len(v.claims)
		if n > 0 && v.claims[n-1].Size == c.Size && v.claims[n-1].Root == c.Root {
			continue
		}
		v.claims = append(v.claims, c)
	}
	if n := len(v.claims); n > 0 {
		v.report.Key = v.keyOf(v.claims[n-1].Checkpoint)
	}
}

// keyOf is the verifier key that a checkpoint was opened with.
func (v *verification) keyOf(c merkle.Checkpoint) string {
	for i, k := range v.keys {
		if _, err := merkle.OpenCheckpoint(c.Text, k); err == nil {
			return strings.TrimSpace(v.Keys[i])
		}
	}
	return ""
}

// compareHead takes in what etcd knows.
func (v *verification) compareHead() {
	h := v.Head
	if h == nil {
		v.lost()
		return
	}
	if h.Origin != v.report.Origin {
		i := slices.IndexFunc(h.Former, func(f FormerLog) bool { return f.Origin == v.report.Origin })
		if i < 0 {
			if v.report.Origin != "" && h.Origin != "" {
				v.problem(Rewritten, 0, 0, "etcd knows the log of this node as %s, and the directory holds %s", h.Origin, v.report.Origin)
			}
			return
		}
		f := h.Former[i]
		if dir, err := filepath.Abs(v.Dir); err != nil || !strings.HasPrefix(filepath.Base(dir), lostPrefix) {
			v.problem(Rewritten, 0, 0, "etcd knows the log of this node as %s, and the directory holds %s, which ended %s: what is left of that belongs into a directory %s*", h.Origin, f.Origin, f.When.UTC().Format("2006-01-02T15:04:05Z"), lostPrefix)
		}
		if f.Size > 0 {
			v.head = &merkle.Checkpoint{Origin: f.Origin, Size: f.Size, Root: f.Root}
			v.claims = append(v.claims, claim{*v.head, "what etcd remembers of this former log"})
			slices.SortStableFunc(v.claims, func(a, b claim) int { return cmp.Compare(a.Size, b.Size) })
		}
		return
	}
	for _, f := range h.Former {
		text := fmt.Sprintf("an earlier log of this node, %s with %d lines, ended %s: %s", f.Origin, f.Size, f.When.UTC().Format("2006-01-02T15:04:05Z"), f.Why)
		if f.Dir != "" {
			text += "; what was left of it is in " + f.Dir
		}
		if f.Acknowledged.IsZero() {
			v.problem(Break, 0, 0, "%s", text)
		} else {
			v.warn("%s (acknowledged %s)", text, f.Acknowledged.UTC().Format("2006-01-02T15:04:05Z"))
		}
	}
}

// lost warns of the files of earlier logs.
func (v *verification) lost() {
	entries, err := os.ReadDir(v.Dir)
	if err != nil {
		return // Segments will say
	}
	for _, e := range entries {
		if e.IsDir() && strings.HasPrefix(e.Name(), lostPrefix) {
			v.warn("%q holds an earlier log of this node, which was not looked at", e.Name())
		}
	}
}

// loadNotes reads what retention wrote about the lines it removed.
func (v *verification) loadNotes() error {
	entries, err := os.ReadDir(filepath.Join(v.Dir, prunedDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, e := range entries {
		if _, _, ok := ParseSegmentName(e.Name() + segmentSuffix); !ok {
			continue // an unfinished one
		}
		text, err := readNote(filepath.Join(v.Dir, prunedDir, e.Name()))
		if err != nil {
			return err
		}
		p, err := OpenPruneNote(text, v.keys...)
		switch {
		case err != nil:
			v.problem(BadNote, 0, 0, "the note %s/%s: %v", prunedDir, e.Name(), err)
		case p.Origin != v.report.Origin || prunePath("", p.Next) != filepath.Join(prunedDir, e.Name()):
			v.problem(BadNote, 0, 0, "the note %s/%s is about the removal of lines before %d of %s: the file was replaced", prunedDir, e.Name(), p.Next, p.Origin)
		default:
			v.notes = append(v.notes, p)
			// Lines that are there after all were kept in a copy, or are about to go.
			if len(v.segs) == 0 || p.Next <= v.segs[0].First {
				v.report.Pruned = append(v.report.Pruned, Range{p.From, p.Next})
			}
		}
	}
	return nil
}
