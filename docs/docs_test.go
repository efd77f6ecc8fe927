// Package docs_test holds the documentation to its word: every command, program and
// configuration in README.md and docs/*.md is tried, and links, flags and targets must
// exist. A block that cannot be tried says why in a comment of the page's source:
//
//	<!-- test: skip, REASON -->
//
// Other comments say how a reader uses the block below: "serve" for a command that
// stays, "file PATH" for the contents of a file, "in checkout" for a command that
// belongs there, "stopped" for one that needs the servers stopped. A block tagged text
// is what the block above prints, or a part of it; … stands in it for what is different
// every time, within a line.
package docs_test

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"arca/internal/api"
	"arca/internal/api/iamapi"
	"arca/internal/api/kmsapi"
	"arca/internal/api/lambdaapi"
	"arca/internal/api/stsapi"
	"arca/internal/iam"
)

// binary is the arca the pages are tried with, built as the README says.
var binary string

func TestMain(m *testing.M) {
	code, err := runTests(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func runTests(m *testing.M) (code int, err error) {
	dir, err := os.MkdirTemp("", "arca-docs-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	binary = filepath.Join(dir, "bin", "arca")
	if out, err := makeCommand("build", "BIN="+binary).CombinedOutput(); err != nil {
		return 0, fmt.Errorf("make build: %w\n%s", err, out)
	}
	return m.Run(), nil
}

func TestBlocks(t *testing.T) {
	// The exact programs the pages are about: others may be in PATH and mean nothing.
	for _, needed := range []string{"/usr/bin/aws", "/usr/bin/python3", "../conformance/js/node_modules"} {
		if _, err := os.Stat(needed); err != nil {
			t.Fatalf("%v: make test-deps installs it", err)
		}
	}
	for _, page := range userPages(t) {
		blocks := blocksOf(t, page)
		if len(blocks) == 0 {
			continue
		}
		t.Run(filepath.Base(page), func(t *testing.T) {
			t.Parallel()
			r := newReader(t)
			if filepath.Base(page) == "rotation.md" {
				r.havePostgreSQL()
			}
			if filepath.Base(page) == "operations.md" {
				// It is about a server that is installed, and stopped.
				r.serveInstalled()
				r.stopServers()
			}
			printed := ""
			for _, b := range blocks {
				if b.lang == "text" {
					if !printedBy(b.text).MatchString(printed) {
						t.Errorf("%v: the block above prints\n%s\nand not\n%s", b, printed, b.text)
					}
					continue
				}
				printed = r.use(b)
			}
		})
	}
}

// printedBy matches the text of a block tagged text.
func printedBy(text string) *regexp.Regexp {
	return regexp.MustCompile(strings.ReplaceAll(regexp.QuoteMeta(text), "…", "[^\n]+"))
}

// serveInstalled starts a server with the configuration that is shipped.
func (r *reader) serveInstalled() {
	r.t.Helper()
	r.use(block{page: "deploy/arca.toml", lang: "toml", text: read(r.t, "../deploy/arca.toml"), how: "file /etc/arca/arca.toml"})
	r.use(block{page: "deploy/arca.toml", lang: "sh", text: "arca server --config /etc/arca/arca.toml\n", how: "serve"})
}

var languages = []string{"sh", "toml", "python", "go", "js", "hcl", "yaml", "text"}

func TestBlocksAreMarked(t *testing.T) {
	for _, page := range userPages(t) {
		for _, b := range blocksOf(t, page) {
			if !slices.Contains(languages, b.lang) {
				t.Errorf("%v: the language %q is not one of %v", b, b.lang, languages)
			}
			if (b.lang == "hcl" || b.lang == "yaml") && !strings.HasPrefix(b.how, "skip, ") {
				t.Errorf("%v: %s is not run: say why", b, b.lang)
			}
			if strings.HasPrefix(b.how, "skip") && len(strings.TrimPrefix(b.how, "skip, ")) < 10 {
				t.Errorf("%v: %q gives no reason", b, b.how)
			}
		}
	}
}

// What make run prints to paste works, too: whole commands for the shell, an
// expression that makes a client for each language.
func TestWelcome(t *testing.T) {
	t.Parallel()
	r := newReader(t)
	welcome := block{page: "welcome"}
	r.serve(welcome, r.here("sh", "make run\n"))
	// The first line is there before the rest.
	said := r.shell(welcome, "until grep Ctrl-C "+r.servers[0].output+"; do sleep 0.1; done; cat "+r.servers[0].output)
	parts := make(map[string]string)
	for _, m := range regexp.MustCompile(`(?m)^([A-Z].*):\n((?:  .*\n)+)`).FindAllStringSubmatch(said, -1) {
		parts[m[1]] = strings.TrimSpace(m[2])
	}
	for _, program := range []struct{ title, lang, before, after string }{
		{"Shell and AWS CLI", "sh", "", "\n"},
		{"Python", "python", "import boto3\nc = ", "\nprint(c.get_secret_value(SecretId='arca/welcome')['SecretString'])\n"},
		{"JavaScript", "js", `import { GetSecretValueCommand, SecretsManagerClient } from "@aws-sdk/client-secrets-manager"
			const c = `, `
			console.log((await c.send(new GetSecretValueCommand({ SecretId: "arca/welcome" }))).SecretString)`},
		{"Go", "go", `package main
			import (
				"context"
				"fmt"
				"github.com/aws/aws-sdk-go-v2/aws"
				"github.com/aws/aws-sdk-go-v2/credentials"
				"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
			)
			func main() {
				c := `, `
				out, err := c.GetSecretValue(context.Background(), &secretsmanager.GetSecretValueInput{SecretId: aws.String("arca/welcome")})
				if err != nil {
					panic(err)
				}
				fmt.Println(*out.SecretString)
			}`},
	} {
		part := parts[program.title]
		if part == "" {
			t.Errorf("make run prints nothing for %s, but\n%s", program.title, said)
			continue
		}
		printed := r.use(block{page: "welcome", lang: program.lang, text: program.before + part + program.after})
		if !strings.Contains(printed, "it works") {
			t.Errorf("%s: the lines\n%s\nprint\n%s", program.title, part, printed)
		}
	}
}

// The table of the ops listener, on a server with the configuration that is shipped.
func TestOpsPaths(t *testing.T) {
	t.Parallel()
	r := newReader(t)
	r.serveInstalled()
	paths := regexp.MustCompile("(?m)^\\| `(/[a-z]+)` \\|").FindAllStringSubmatch(prose(t, "server.md"), -1)
	if len(paths) < 3 {
		t.Fatalf("server.md names the paths %v: the test has lost its way", paths)
	}
	for _, path := range paths {
		url := r.here("", "http://127.0.0.1:9464") + path[1]
		resp, err := http.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusOK || len(body) == 0 {
			t.Errorf("%s answers %d %q, %v", path[1], resp.StatusCode, body, err)
		}
	}
}

func TestServiceUnit(t *testing.T) {
	const verify = "/usr/bin/systemd-analyze"
	if _, err := os.Stat(verify); err != nil {
		t.Fatalf("%v: make test-deps installs it", err)
	}
	// What the unit starts must be there.
	unit := strings.ReplaceAll(read(t, "../deploy/arca.service"), "/usr/local/bin/arca", binary)
	path := filepath.Join(t.TempDir(), "arca.service")
	if err := os.WriteFile(path, []byte(unit), 0o600); err != nil {
		t.Fatal(err)
	}
	// It only warns of names it does not know.
	out, err := exec.Command(verify, "verify", "--man=no", path).CombinedOutput()
	if err != nil || len(out) > 0 {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
	if !strings.Contains(unit, "--config /etc/arca/arca.toml") || !strings.Contains(read(t, "../deploy/arca.toml"), `"/var/lib/arca/`) {
		t.Error("unit and configuration no longer name the folders that server.md installs to")
	}
}

// Terraform's own parser would come with a download; this knows the little that the
// pages use.
func TestTerraformSyntax(t *testing.T) {
	lines := []*regexp.Regexp{
		regexp.MustCompile(`^\w+ +("\w+" +)*\{$`),
		regexp.MustCompile(`^\w+ += ("[^"]*"|true|false|\d+)$`),
		regexp.MustCompile(`^\}$`),
	}
	for _, b := range blocksOf(t, "clients.md") {
		if b.lang != "hcl" {
			continue
		}
		depth := 0
		for line := range strings.Lines(b.text) {
			line = strings.TrimSpace(line)
			if line != "" && !slices.ContainsFunc(lines, func(re *regexp.Regexp) bool { return re.MatchString(line) }) {
				t.Errorf("%v: %s", b, line)
			}
			depth += strings.Count(line, "{") - strings.Count(line, "}")
		}
		if depth != 0 {
			t.Errorf("%v: braces do not match", b)
		}
	}
}

var link = regexp.MustCompile(`\]\(([^)\s]+)\)`)

func TestLinks(t *testing.T) {
	for _, page := range allPages(t) {
		for _, m := range link.FindAllStringSubmatch(prose(t, page), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			file, anchor, _ := strings.Cut(m[1], "#")
			path := page
			if file != "" {
				path = filepath.Join(filepath.Dir(page), file)
			}
			if _, err := os.Stat(path); err != nil {
				t.Errorf("%s: the link %s leads nowhere", page, m[1])
			} else if anchor != "" && !slices.Contains(anchors(t, path), anchor) {
				t.Errorf("%s: %s has no heading for the link %s", page, path, m[1])
			}
		}
	}
}

// anchors are the names of a page's headings, as Git hosts make them.
func anchors(t *testing.T, page string) []string {
	t.Helper()
	var names []string
	for _, m := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(prose(t, page), -1) {
		name := regexp.MustCompile(`[^\w\- ]`).ReplaceAllString(strings.ToLower(m[1]), "")
		names = append(names, strings.ReplaceAll(name, " ", "-"))
	}
	return names
}

func TestMakeTargets(t *testing.T) {
	makefile := read(t, "../Makefile")
	named := 0
	for _, page := range allPages(t) {
		// In blocks and in code spans, not in prose ("make test data").
		for _, m := range regexp.MustCompile("(?m)(?:^|`)make ([a-z0-9-]+)").FindAllStringSubmatch(read(t, page), -1) {
			named++
			if !regexp.MustCompile(`(?m)^` + m[1] + `:`).MatchString(makefile) {
				t.Errorf("%s: there is no make %s", page, m[1])
			}
		}
	}
	if named == 0 {
		t.Error("no page names a target: the test has lost its way")
	}
}

var (
	arcaCommand = regexp.MustCompile("(?m)(?:^|[`(/])arca ((?:[a-z]+(?:-[a-z]+)*)(?: [a-z]+(?:-[a-z]+)*)*)([^`\n]*)")
	longFlag    = regexp.MustCompile(`--[a-z][a-z-]+`)
)

// Commands that pages only mention must exist, with their flags.
func TestCommandsExist(t *testing.T) {
	help := make(map[string]string)
	helpOf := func(words []string) string {
		key := strings.Join(words, " ")
		if help[key] == "" {
			out, _ := exec.Command(binary, append(slices.Clone(words), "--help")...).CombinedOutput() // a failure shows below
			help[key] = string(out)
		}
		return help[key]
	}
	named := 0
	// The design speaks of commands to come.
	for _, page := range userPages(t) {
		for _, m := range arcaCommand.FindAllStringSubmatch(read(t, page), -1) {
			words := strings.Fields(m[1])
			// Behind the command stand arguments; the usage line tells them apart.
			for len(words) > 0 && !strings.Contains(helpOf(words), "\n  arca "+strings.Join(words, " ")) {
				words = words[:len(words)-1]
			}
			if len(words) == 0 {
				t.Errorf("%s: there is no command arca %s", page, m[1])
				continue
			}
			named++
			for _, flag := range longFlag.FindAllString(m[2], -1) {
				if !strings.Contains(helpOf(words), flag) {
					t.Errorf("%s: arca %s has no flag %s", page, m[1], flag)
				}
			}
		}
	}
	if named < 10 {
		t.Errorf("%d commands were found: the test has lost its way", named)
	}
}

// dev.md has every option of arca dev, and no other.
func TestDevOptions(t *testing.T) {
	out, err := exec.Command(binary, "dev", "--help").Output()
	if err != nil {
		t.Fatal(err)
	}
	flags := func(re, text string) []string {
		var names []string
		for _, m := range regexp.MustCompile(re).FindAllStringSubmatch(text, -1) {
			names = append(names, m[1])
		}
		slices.Sort(names)
		return names
	}
	want := flags(`(?m)^ +(?:-\w, )?(--[a-z-]+) `, string(out))
	want = slices.DeleteFunc(want, func(f string) bool { return f == "--help" })
	if got := flags("(?m)^\\| `(--[a-z-]+)[ `]", prose(t, "dev.md")); !slices.Equal(got, want) {
		t.Errorf("dev.md has the options %v, arca dev has %v", got, want)
	}
}

// section is what a page says under a heading, up to the next.
func section(t *testing.T, page, heading string) string {
	t.Helper()
	_, text, found := strings.Cut(prose(t, page), "\n## "+heading+"\n")
	if !found {
		t.Fatalf("%s has no section %s", page, heading)
	}
	text, _, _ = strings.Cut(text, "\n## ")
	return text
}

// A page about services has every operation of theirs that is served, and no other.
func TestOperations(t *testing.T) {
	row := regexp.MustCompile(`(?m)^\| [^|]+ \| ([A-Z][^|]*) \|$`)
	for page, services := range map[string][]*api.Service{
		"access.md":   {iamapi.Service, stsapi.Service},
		"keys.md":     {kmsapi.Service},
		"rotation.md": {lambdaapi.Service},
	} {
		var want, got []string
		for _, service := range services {
			for _, op := range service.Operations {
				want = append(want, op.Name)
			}
		}
		for _, m := range row.FindAllStringSubmatch(section(t, page, "Operations"), -1) {
			got = append(got, strings.Split(m[1], ", ")...)
		}
		slices.Sort(got)
		for _, op := range want {
			if !slices.Contains(got, op) {
				t.Errorf("%s does not name %s", page, op)
			}
		}
		for _, op := range got {
			if !slices.Contains(want, op) {
				t.Errorf("%s names %s, which is not served", page, op)
			}
		}
		if unique := slices.Compact(slices.Clone(got)); len(unique) != len(got) {
			t.Errorf("%s names an operation twice: %v", page, got)
		}
	}
}

// access.md has every policy that all accounts have, in the order of their names.
func TestManagedPolicies(t *testing.T) {
	var want, got []string
	for _, p := range iam.BuiltinPolicies() {
		want = append(want, strings.TrimPrefix(p.Path, "/")+p.Name)
	}
	for _, m := range regexp.MustCompile("`([A-Za-z/_-]+)`").FindAllStringSubmatch(section(t, "access.md", "Managed policies"), -1) {
		got = append(got, m[1])
	}
	if !slices.Equal(got, want) {
		t.Errorf("access.md has the policies %v, every account has %v", got, want)
	}
}

// architecture.md has a sentence for every package of the import table, and no other.
func TestPackages(t *testing.T) {
	var want, got []string
	for _, m := range regexp.MustCompile(`(?m)^\t"([a-z0-9]+)": +"`).FindAllStringSubmatch(read(t, "../internal/deps_test.go"), -1) {
		want = append(want, m[1])
	}
	text := section(t, "design/architecture.md", "Packages")
	for _, m := range regexp.MustCompile("(?m)^\\| (`[^|]*`) \\|").FindAllStringSubmatch(text, -1) {
		for _, name := range strings.Split(m[1], ", ") {
			if name = strings.Trim(name, "`"); !strings.Contains(name, "/") {
				got = append(got, name)
			}
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	if len(want) < 10 || !slices.Equal(got, want) {
		t.Errorf("architecture.md has the packages %v, the import table has %v", got, want)
	}
}

func TestREADMEIsOneScreen(t *testing.T) {
	if n := strings.Count(read(t, "../README.md"), "\n"); n > 60 {
		t.Errorf("README.md has %d lines", n)
	}
}
