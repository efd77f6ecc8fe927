package app

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"time"

	"arca/internal/egress"
	"arca/internal/lambda"
	"arca/internal/runner"
)

// FunctionHelper is the hidden command by which this program runs the processes of
// functions; see runner.Helper.
const FunctionHelper = "function-process"

// FunctionsConfig says how the functions that rotate secrets are run.
type FunctionsConfig struct {
	// Run lets whoever may create functions run code on this machine [functions.run].
	// Default: only built-in functions and webhooks are run. docs/design/runners.md says
	// what such code can reach.
	Run bool `toml:"run"`
	// UIDRange are user ids, "200000-200999", that nothing else on the machine uses
	// [functions.uid_range]. Each process has one of its own. Required for Run.
	UIDRange string `toml:"uid_range"`
	// Dir is a folder for code and temporary files, which users of that range must be
	// able to reach [functions.dir]. It is emptied at every start. Default: DataDir +
	// ".functions".
	Dir string `toml:"dir"`
	// Interpreters are programs by runtime ("python3.12") or family ("python3", "nodejs")
	// [functions.interpreters]. Default: those in /usr/bin.
	Interpreters map[string]string `toml:"interpreters"`
	// PythonPath and NodePath are folders with modules for all functions
	// [functions.python_path, functions.node_path].
	PythonPath []string `toml:"python_path"`
	NodePath   []string `toml:"node_path"`
	// MaxProcesses bounds the processes of all functions [functions.max_processes].
	// Default: 32.
	MaxProcesses int `toml:"max_processes"`
	// Endpoint is the URL by which functions call this server [functions.endpoint].
	// Default: that of Listen.
	Endpoint string `toml:"endpoint"`
	// CAFile holds the PEM certificates by which they verify it [functions.ca_file].
	// Default: the server's own certificate, or the system's for a configured one.
	CAFile string `toml:"ca_file"`
}

var (
	uidRangeForm    = regexp.MustCompile(`^([1-9][0-9]{0,8})-([1-9][0-9]{0,8})$`)
	interpreterForm = regexp.MustCompile(`^(python3(\.[0-9]{1,2})?|nodejs([0-9]{2}\.x)?)$`)
)

// users are the user ids of UIDRange; nil for none.
func (f *FunctionsConfig) users() *runner.UserRange {
	m := uidRangeForm.FindStringSubmatch(f.UIDRange)
	if m == nil {
		return nil
	}
	first, _ := strconv.Atoi(m[1])
	last, _ := strconv.Atoi(m[2])
	return &runner.UserRange{First: first, Last: last}
}

func (f *FunctionsConfig) validate(p *problems, dataDir string) {
	switch u := f.users(); {
	case f.UIDRange == "" && f.Run:
		p.add("functions.uid_range", "is required for functions.run: code of functions must not run under the server's own user id. Name user ids that nothing else uses, such as \"200000-200999\"")
	case f.UIDRange != "" && (u == nil || u.Last-u.First < 1):
		p.add("functions.uid_range", "%q is not a range of user ids such as \"200000-200999\"", f.UIDRange)
	}
	if f.Dir == "" && dataDir != "" {
		f.Dir = dataDir + ".functions"
	}
	if dataDir != "" && (inside(dataDir, f.Dir) || inside(f.Dir, dataDir)) {
		p.add("functions.dir", "%s and data_dir lie in each other: functions.dir is emptied at every start", f.Dir)
	}
	for _, name := range slices.Sorted(maps.Keys(f.Interpreters)) {
		if !interpreterForm.MatchString(name) {
			p.add("functions.interpreters", "%q is neither a runtime such as python3.12 or nodejs20.x nor python3 or nodejs", name)
		} else if !filepath.IsAbs(f.Interpreters[name]) {
			p.add("functions.interpreters."+name, "%q is not an absolute path", f.Interpreters[name])
		}
	}
	for _, list := range []struct {
		field string
		paths []string
	}{{"functions.python_path", f.PythonPath}, {"functions.node_path", f.NodePath}} {
		for _, path := range list.paths {
			if !filepath.IsAbs(path) {
				p.add(list.field, "%q is not an absolute path", path)
			}
		}
	}
	if f.MaxProcesses < 0 {
		p.add("functions.max_processes", "%d is negative", f.MaxProcesses)
	}
	if f.Endpoint != "" {
		if u, err := url.Parse(f.Endpoint); err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil {
			p.add("functions.endpoint", "%q is not a URL of the form https://host:port", f.Endpoint)
		}
	}
}

// newEgress builds what connects to servers that accounts name.
func (c *Config) newEgress(reachLoopback bool) (*egress.Client, error) {
	roots, err := c.Egress.roots()
	if err != nil {
		return nil, err
	}
	return egress.New(egress.Config{Allow: c.Egress.prefixes(), AllowLoopback: reachLoopback, RootCAs: roots, Now: time.Now}), nil
}

// runners run functions, by their kind.
type runners struct {
	builtIn *runner.BuiltIn
	webhook *runner.Webhook
	process *runner.Process // nil: off
}

// openRunners makes what runs functions. Only a server that is called has them.
func (a *App) openRunners() error {
	client, err := a.cfg.newEgress(a.mode.reachLoopback)
	if err != nil {
		return err
	}
	r := &runners{
		builtIn: runner.NewBuiltIn(runner.BuiltInConfig{Egress: client, IAM: a.iam, Do: a.do, Now: a.clock.Now}),
		webhook: runner.NewWebhook(client),
	}
	if f := &a.cfg.Functions; f.Run {
		r.process, err = runner.NewProcess(runner.ProcessConfig{
			Dir: f.Dir, Command: []string{"arca", FunctionHelper}, Users: f.users(),
			Runtimes: runner.Runtimes{Interpreters: f.Interpreters, PythonPath: f.PythonPath, NodePath: f.NodePath},
			Endpoint: a.functionEndpoint, MaxInstances: f.MaxProcesses, Logger: a.log,
		})
		if err != nil {
			return fmt.Errorf("functions.run: %w", err)
		}
		a.log.Info("functions are run as processes", "isolation", r.process.Isolation())
	}
	a.runners.Store(r)
	return nil
}

// errNoProcesses is what clients read.
var errNoProcesses = errors.New("code of functions is not run on this server; its operator can allow it with the setting functions.run, or --run-functions of arca dev")

// runner is lambda.Config.Runner.
func (a *App) runner(k lambda.Kind) (lambda.Runner, error) {
	r := a.runners.Load()
	if r == nil {
		return nil, errors.New("the server is starting or stopping")
	}
	switch k {
	case lambda.BuiltIn:
		return r.builtIn, nil
	case lambda.Webhook:
		return r.webhook, nil
	case lambda.Process:
		if r.process == nil {
			return nil, errNoProcesses
		}
		return r.process, nil
	}
	return nil, fmt.Errorf("there is nothing that runs functions of the kind %q", k)
}

// closeRunners ends the processes of functions.
func (a *App) closeRunners() error {
	r := a.runners.Swap(nil)
	if r == nil || r.process == nil {
		return nil
	}
	return r.process.Close()
}

// functionEndpoint says how functions reach this server.
func (a *App) functionEndpoint() runner.Endpoint {
	f := &a.cfg.Functions
	end := runner.Endpoint{URL: f.Endpoint}
	if end.URL == "" {
		end.URL = a.URL()
	}
	file := f.CAFile
	if file == "" && !a.cfg.TLS.Off && a.cfg.TLS.CertFile == "" {
		file = filepath.Join(a.cfg.keysDir(), "tls.crt") // see ensureOwnCertificate
	}
	if file == "" {
		return end
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		a.log.Error("functions get no certificates to verify this server by", "error", err.Error())
		return end
	}
	end.CA = pem
	return end
}
