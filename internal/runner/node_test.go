package runner_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"arca/internal/runner"
)

// newNodeBed is a bed with the Node.js that scripts/find-node finds.
func newNodeBed(t *testing.T) *bed {
	t.Helper()
	out, err := exec.Command("../../scripts/find-node").Output()
	if err != nil {
		t.Skip("there is no usable Node.js; scripts/test-deps.sh installs one")
	}
	node := strings.TrimSpace(string(out))
	return newBed(t, func(c *runner.ProcessConfig) {
		c.Runtimes.Interpreters = map[string]string{"nodejs": node}
	})
}

func TestNode(t *testing.T) {
	t.Parallel()
	b := newNodeBed(t)
	for _, tc := range []struct {
		name, file, code string
		want             string // answer
	}{
		{"an async function of a CommonJS module", "index.js",
			`exports.handler = async (event, context) => ({ step: event.Step, name: context.functionName, time: context.getRemainingTimeInMillis() > 0 })`,
			`{"step":"setSecret","name":"fn-N","time":true}`},
		{"an ES module", "index.mjs",
			`import { basename } from 'node:path'; export const handler = async () => basename('/a/b')`, `"b"`},
		{"module.exports", "index.cjs", `module.exports = { handler: async () => 1 }`, `1`},
		{"a callback", "index.js", `exports.handler = (event, context, callback) => { setTimeout(() => callback(null, 'later'), 20) }`, `"later"`},
		{"a callback that does not wait", "index.js",
			`exports.handler = (event, context, callback) => { context.callbackWaitsForEmptyEventLoop = false; setInterval(() => {}, 1000); callback(null, 'at once') }`, `"at once"`},
		{"neither promise nor callback", "index.js", `exports.handler = () => 'lost'`, `null`},
		{"nothing", "index.js", `exports.handler = async () => {}`, `null`},
		{"context.succeed", "index.js", `exports.handler = (event, context) => context.succeed('old')`, `"old"`},
		{"a file it requires", "index.js", `const other = require('./lib/other'); exports.handler = async () => other.value`, `"of another file"`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := b.function("nodejs20.x", "index.handler", files{tc.file: tc.code, "lib/other.js": "exports.value = 'of another file'"}, nil)
			res := b.invoke(f, `{"Step":"setSecret"}`)
			got := regexp.MustCompile(`fn-[0-9]+`).ReplaceAllString(string(res.Payload), "fn-N")
			if got != tc.want || res.FunctionError != "" {
				t.Errorf("answer = %s, want %s\n%s", res.Payload, tc.want, res.Log)
			}
		})
	}
}

func TestNodeFailures(t *testing.T) {
	t.Parallel()
	b := newNodeBed(t)
	for _, tc := range []struct {
		name, handler, code   string
		wantType, wantMessage string
	}{
		{"an exception", "index.handler", `exports.handler = async (e) => { throw new TypeError('not ' + e.x) }`, "TypeError", `^not good$`},
		{"an exception without a promise", "index.handler", `exports.handler = () => { throw new Error('at once') }`, "Error", `^at once$`},
		{"a callback's error", "index.handler", `exports.handler = (e, c, cb) => cb(new RangeError('too far'))`, "RangeError", `^too far$`},
		{"a callback's text", "index.handler", `exports.handler = (e, c, cb) => cb('just text')`, "string", `^just text$`},
		{"an exception nobody catches", "index.handler", `exports.handler = () => { setTimeout(() => { throw new Error('late') }, 5) }`, "Error", `^late$`},
		{"a rejection nobody handles", "index.handler", `exports.handler = () => { Promise.reject(new Error('alone')) }`, "Runtime.UnhandledPromiseRejection", `alone$`},
		{"an answer that is not JSON", "index.handler", `exports.handler = async () => { const a = {}; a.a = a; return a }`, "Runtime.MarshalError", `^Unable to stringify response body`},
		{"no such module", "other.handler", ``, "Runtime.ImportModuleError", `^Error: Cannot find module 'other'`},
		{"an import that fails", "index.handler", `require('nothing-like-this')`, "Runtime.ImportModuleError", `Cannot find module 'nothing-like-this'`},
		{"no such function", "index.other", `exports.handler = 1`, "Runtime.HandlerNotFound", `^index.other is undefined or not exported$`},
		{"a syntax error", "index.handler", `exports.handler = (`, "Runtime.UserCodeSyntaxError", `SyntaxError`},
		{"an exit", "index.handler", `exports.handler = async () => process.exit(7)`, "Runtime.ExitError", `exit status 7$`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := b.function("nodejs20.x", tc.handler, files{"index.js": tc.code}, nil)
			got, res := b.fail(f, `{"x":"good"}`)
			if got.ErrorType != tc.wantType || !regexp.MustCompile(tc.wantMessage).MatchString(got.ErrorMessage) {
				t.Errorf("failure = %s, want %s: %s\n%s", res.Payload, tc.wantType, tc.wantMessage, res.Log)
			}
		})
	}
}

// TestNodeLog: what is logged carries the request's id, and the process is used again.
func TestNodeLog(t *testing.T) {
	t.Parallel()
	b := newNodeBed(t)
	f := b.function("nodejs22.x", "index.handler", files{"index.mjs": `
let n = 0;
export async function handler(event, context) { console.log('hello %d', ++n); console.error(new Error('shown')); return n; }
`}, nil)
	for want := 1; want <= 2; want++ {
		inv := f.invocation(`{}`)
		res, err := b.Invoke(t.Context(), inv)
		if err != nil {
			t.Fatal(err)
		}
		var n int
		if err := json.Unmarshal(res.Payload, &n); err != nil || n != want {
			t.Errorf("answer = %s, want %d", res.Payload, want)
		}
		line := regexp.MustCompile(`\n\S+Z\t` + inv.RequestID + `\tINFO\thello [12]\n\S+Z\t` + inv.RequestID + `\tERROR\tError: shown\n`)
		if !line.Match(res.Log) {
			t.Errorf("log = %s", res.Log)
		}
	}
}

// TestGoBinary: a program built with aws-lambda-go, and one that is none.
func TestGoBinary(t *testing.T) {
	t.Parallel()
	b := newBed(t, nil)
	program := t.TempDir() + "/bootstrap"
	cmd := exec.Command("go", "build", "-o", program, "./testdata/gofunction")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-mod=mod")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	text, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	f := b.function("provided.al2023", "ignored", files{"bootstrap!": string(text)}, nil)
	for range 2 {
		if got := answer[map[string]string](b, f, `{"Step":"testSecret"}`); got["step"] != "testSecret" || got["arn"] != f.ARN() {
			t.Errorf("answer = %v", got)
		}
	}
	if got, res := b.fail(f, `{"Step":"fail"}`); got.ErrorType != "errorString" || got.ErrorMessage != "as it was told" {
		t.Errorf("failure = %s", res.Payload)
	}
	if got, res := b.fail(f, `{"Step":"panic"}`); got.ErrorMessage != "told to" {
		t.Errorf("failure = %s", res.Payload)
	}
	script := b.function("provided.al2023", "ignored", files{"bootstrap!": "#!/no/such/shell\n"}, nil)
	if got, res := b.fail(script, `{}`); got.ErrorType != "Runtime.InvalidEntrypoint" {
		t.Errorf("failure = %s", res.Payload)
	}
}
