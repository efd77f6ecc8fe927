// Command gen turns the service descriptions (*.api) into Go packages. It is run
// by go generate in internal/api and reads and writes below that folder only. The
// same description always gives the same bytes.
package main

import (
	"fmt"
	"log"
	"os"
	"path/filepath"
)

func main() {
	log.SetFlags(0)
	if err := generate("."); err != nil {
		log.Fatal(err)
	}
}

// generate writes the package of every description in dir.
func generate(dir string) error {
	files, err := render(dir)
	if err != nil {
		return err
	}
	for path, src := range files {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, src, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// render returns the generated files of every description in dir, by path.
func render(dir string) (map[string][]byte, error) {
	sources, err := filepath.Glob(filepath.Join(dir, "*.api"))
	if err != nil {
		return nil, err
	}
	if len(sources) == 0 {
		return nil, fmt.Errorf("no descriptions in %s", dir)
	}
	out := map[string][]byte{}
	for _, source := range sources {
		text, err := os.ReadFile(source)
		if err != nil {
			return nil, err
		}
		svc, err := parse(filepath.Base(source), string(text))
		if err != nil {
			return nil, err
		}
		files, err := emit(svc, filepath.Base(source))
		if err != nil {
			return nil, err
		}
		for name, src := range files {
			out[filepath.Join(dir, svc.pkg, name)] = src
		}
	}
	return out, nil
}
