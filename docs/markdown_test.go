package docs_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// block is a fenced block of a page.
type block struct {
	page string
	line int // of its first line of text
	lang string
	text string
	// how is what the page's source says, in a comment above the block, about the way
	// a reader uses it: "serve", "file PATH", "in checkout", "skip, REASON"; "" for
	// the usual way.
	how string
}

func (b block) String() string { return fmt.Sprintf("%s:%d", b.page, b.line) }

// root is the top of the checkout.
const root = ".."

// userPages are the pages that tell users what to do: every block in them is tried.
// docs/design explains, and shows code that is not meant to be run.
func userPages(t *testing.T) []string {
	t.Helper()
	pages, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	return append(pages, filepath.Join(root, "README.md"))
}

// allPages are all pages of README and docs.
func allPages(t *testing.T) []string {
	t.Helper()
	pages := []string{filepath.Join(root, "README.md")}
	err := filepath.WalkDir(filepath.Join(root, "docs"), func(path string, d fs.DirEntry, err error) error {
		if err == nil && filepath.Ext(path) == ".md" {
			pages = append(pages, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return pages
}

var (
	fence     = regexp.MustCompile("^```(.*)$")
	directive = regexp.MustCompile(`^<!-- test: (.*) -->$`)
	// Between these a program writes what it measured.
	written = regexp.MustCompile(`^<!-- (bench|scale):(begin|end) -->$`)
)

// blocksOf returns the blocks of a page in their order.
func blocksOf(t *testing.T, page string) []block {
	t.Helper()
	var blocks []block
	var b *block
	how := ""
	for i, line := range strings.Split(read(t, page), "\n") {
		switch m := fence.FindStringSubmatch(line); {
		case m != nil && b == nil:
			b = &block{page: filepath.Base(page), line: i + 2, lang: m[1], how: how}
			how = ""
		case m != nil:
			blocks = append(blocks, *b)
			b = nil
		case b != nil:
			b.text += line + "\n"
		default:
			if how != "" {
				t.Errorf("%s:%d: a comment for the test is not directly above a block", page, i)
			}
			how = ""
			if m := directive.FindStringSubmatch(line); m != nil {
				how = m[1]
			} else if strings.Contains(line, "<!--") && !written.MatchString(line) {
				t.Errorf("%s:%d: a comment that is none for the test: %s", page, i+1, line)
			}
		}
	}
	if b != nil {
		t.Errorf("%v: the block does not end", *b)
	}
	return blocks
}

// prose is a page without its blocks.
func prose(t *testing.T, page string) string {
	t.Helper()
	var text strings.Builder
	inside := false
	for line := range strings.Lines(read(t, page)) {
		if fence.MatchString(strings.TrimSuffix(line, "\n")) {
			inside = !inside
		} else if !inside {
			text.WriteString(line)
		}
	}
	return text.String()
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
