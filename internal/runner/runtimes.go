package runner

import (
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"

	"arca/internal/lambda"
)

//go:embed bootstrap.py
var pythonBootstrap []byte

//go:embed bootstrap.mjs
var nodeBootstrap []byte

// program is how the processes of one kind are started.
type program struct {
	path string // the program
	args []string
	env  map[string]string
	dir  string   // LAMBDA_RUNTIME_DIR
	read []string // folders it needs besides those of the system
}

var (
	pythonForm = regexp.MustCompile(`^python3\.[0-9]{1,2}$`)
	nodeForm   = regexp.MustCompile(`^nodejs([0-9]{2})\.x$`)
)

const (
	pythonFile = "bootstrap.py"
	nodeFile   = "bootstrap.mjs"
)

// writeBootstraps puts the programs that Python and Node start with into a folder that
// every function may read.
func writeBootstraps(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for name, text := range map[string][]byte{pythonFile: pythonBootstrap, nodeFile: nodeBootstrap} {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.WriteFile(path, text, 0o644), os.Chmod(path, 0o644)); err != nil {
			return err
		}
	}
	return os.Chmod(dir, 0o755)
}

// Runtimes says which programs run which runtimes.
type Runtimes struct {
	// Interpreters are paths by runtime ("python3.12") or by family ("python3", "nodejs").
	// Default: /usr/bin/python3.12 for that runtime where there is one, else
	// /usr/bin/python3; /usr/bin/node.
	Interpreters map[string]string
	// PythonPath and NodePath are folders with modules for all functions.
	PythonPath, NodePath []string
}

// find says how a function is started whose code lies in task.
func (r *Runtimes) find(fn *lambda.Function, bootstraps, task string) (*program, error) {
	switch {
	case pythonForm.MatchString(fn.Runtime):
		path, err := r.interpreter(fn.Runtime, "python3", "/usr/bin/"+fn.Runtime, "/usr/bin/python3")
		if err != nil {
			return nil, err
		}
		rt := &program{path: path, args: []string{path, "-B", filepath.Join(bootstraps, pythonFile)}, dir: bootstraps, read: r.PythonPath}
		if len(r.PythonPath) > 0 {
			rt.env = map[string]string{"PYTHONPATH": joinList(r.PythonPath)}
		}
		return rt, nil
	case nodeForm.MatchString(fn.Runtime):
		path, err := r.interpreter(fn.Runtime, "nodejs", "/usr/bin/node", "/usr/local/bin/node")
		if err != nil {
			return nil, err
		}
		// Node collects garbage before it is stopped for the memory it uses.
		heap := "--max-old-space-size=" + strconv.Itoa(max(int(fn.Memory)*3/4, 32))
		rt := &program{path: path, args: []string{path, heap, filepath.Join(bootstraps, nodeFile)}, dir: bootstraps, read: r.NodePath}
		if len(r.NodePath) > 0 {
			rt.env = map[string]string{"NODE_PATH": joinList(r.NodePath)}
		}
		return rt, nil
	case fn.Runtime == "provided.al2023" || fn.Runtime == "provided.al2":
		path := filepath.Join(task, "bootstrap")
		if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() {
			return nil, fmt.Errorf("%w: a function with the runtime %s needs an executable file bootstrap at the top of its zip file", lambda.ErrCode, fn.Runtime)
		}
		return &program{path: path, args: []string{"bootstrap"}, dir: bootstraps}, nil
	}
	return nil, fmt.Errorf("%w: this server runs python3.*, nodejs*.x and provided.al2023, not %q", lambda.ErrRuntime, fn.Runtime)
}

// interpreter is the configured program, or the first usual one that is there.
func (r *Runtimes) interpreter(name, family string, usual ...string) (string, error) {
	for _, key := range []string{name, family} {
		if path := r.Interpreters[key]; path != "" {
			if err := executable(path); err != nil {
				return "", fmt.Errorf("%w: %s: %w (setting functions.interpreters)", lambda.ErrRuntime, name, err)
			}
			return path, nil
		}
	}
	for _, path := range usual {
		if executable(path) == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("%w: %s: there is no %s on this server; install it, or name another in the setting functions.interpreters", lambda.ErrRuntime, name, usual[len(usual)-1])
}

func executable(path string) error {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("there is no %s", path)
	case err != nil:
		return err
	case !info.Mode().IsRegular() || info.Mode().Perm()&0o111 == 0:
		return fmt.Errorf("%s is not a program", path)
	}
	return nil
}

func joinList(paths []string) string {
	out := ""
	for i, p := range paths {
		if i > 0 {
			out += string(os.PathListSeparator)
		}
		out += p
	}
	return out
}
