package main

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
)

// The lines between which the docs hold what was measured.
const tablesBegin, tablesEnd = "<!-- bench:begin -->\n", "<!-- bench:end -->\n"

// writeDoc puts the tables into the docs.
func (rec *record) writeDoc(path string) error {
	old, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	text, err := replaceBetween(old, tablesBegin, tablesEnd, rec.tables())
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return os.WriteFile(path, text, 0o644)
}

func replaceBetween(text []byte, begin, end, with string) ([]byte, error) {
	before, rest, ok1 := bytes.Cut(text, []byte(begin))
	_, after, ok2 := bytes.Cut(rest, []byte(end))
	if !ok1 || !ok2 {
		return nil, fmt.Errorf("no lines %q and %q", strings.TrimSpace(begin), strings.TrimSpace(end))
	}
	return slices.Concat(before, []byte(begin+with+end), after), nil
}

// tables are what docs/performance.md shows of a record.
func (rec *record) tables() string {
	var b strings.Builder
	fmt.Fprintf(&b, "\n%s; %s. %d connections, %d secrets, %d rounds of %g s; %s, commit %s.\n",
		rec.Machine, rec.Versions["go"], rec.Settings.Connections, rec.Settings.Secrets, rec.Settings.Rounds, rec.Settings.Seconds, rec.Date, rec.Commit)
	var peers []string
	for _, name := range slices.Sorted(maps.Keys(rec.Versions)) {
		if name != arcaName && name != "go" {
			peers = append(peers, name+": "+rec.Versions[name])
		}
	}
	if len(peers) > 0 {
		fmt.Fprintf(&b, "Peers: %s.\n", strings.Join(peers, "; "))
	}
	b.WriteString("\n" + rec.rateTable() + "\n" + rec.halfTable() + rec.ratioTable())
	if rec.Start != nil {
		fmt.Fprintf(&b, "\nStart to the first answered request of `arca dev`: %.0f ms (median of 9; aim 100 ms). Idle memory: %.0f MB (aim 60 MB).\n",
			rec.Start.Milliseconds, rec.Start.IdleMB)
	}
	return b.String() + "\n"
}

// rateTable has a line for each row: Arca in detail, the others' rates.
func (rec *record) rateTable() string {
	rates := make(map[[2]string]float64)
	var others []string
	for _, r := range rec.Rows {
		if strings.HasSuffix(r.Row, halfLoad) {
			continue
		}
		rates[[2]string{r.Row, r.Contender}] = r.Rate
		if r.Contender != arcaName && !slices.Contains(others, r.Contender) {
			others = append(others, r.Contender)
		}
	}
	slices.SortFunc(others, func(a, b string) int { return place(a) - place(b) })
	var b strings.Builder
	b.WriteString("| requests/s | arca | spread | p50 | p99 | CPU/request |")
	for _, name := range others {
		b.WriteString(" " + name + " |")
	}
	b.WriteString("\n|---|" + strings.Repeat("---:|", 5+len(others)) + "\n")
	for _, r := range rec.Rows {
		if r.Contender != arcaName || strings.HasSuffix(r.Row, halfLoad) {
			continue
		}
		fmt.Fprintf(&b, "| %s | %s | ±%.0f %% | %.2f ms | %.2f ms | %.0f µs |", r.Row, grouped(r.Rate), r.Spread, r.P50/1000, r.P99/1000, r.CPU)
		for _, name := range others {
			text := ""
			if v := rates[[2]string{r.Row, name}]; v > 0 {
				text = grouped(v)
			}
			fmt.Fprintf(&b, " %s |", text)
		}
		b.WriteString("\n")
	}
	return b.String()
}

// place orders the columns: what bounds Arca, then its peers.
func place(contender string) int {
	if i := slices.Index([]string{echoName, syncedName, etcdName, "openbao", "vault", motoName}, contender); i >= 0 {
		return i
	}
	return 100
}

// grouped is a number with commas.
func grouped(v float64) string {
	s := strconv.FormatFloat(v, 'f', 0, 64)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

func (rec *record) halfTable() string {
	var b strings.Builder
	for _, r := range rec.Rows {
		if strings.HasSuffix(r.Row, halfLoad) {
			fmt.Fprintf(&b, "| %s | %s | %s | %.2f ms | %.2f ms |\n", r.Row, r.Contender, grouped(r.Rate), r.P50/1000, r.P99/1000)
		}
	}
	if b.Len() == 0 {
		return ""
	}
	return "| | | requests/s | p50 | p99 |\n|---|---|---:|---:|---:|\n" + b.String() + "\n"
}

func (rec *record) ratioTable() string {
	var b strings.Builder
	b.WriteString("| ratio | measured | rounds differ by | aim | |\n|---|---:|---:|---:|---|\n")
	write := func(aimed bool) {
		for i := range rec.Ratios {
			r := &rec.Ratios[i]
			if r.Aim > 0 != aimed {
				continue
			}
			aim, what := "", ""
			if aimed {
				aim, what = fmt.Sprintf("≥ %.2f", r.Aim), "met"
				if r.Most {
					aim = fmt.Sprintf("≤ %.2f", r.Aim)
				}
				if !r.met() {
					what = "**missed**"
				}
			}
			fmt.Fprintf(&b, "| %s | %.2f | ±%.2f | %s | %s |\n", r.Name, r.Value, r.Deviation, aim, what)
		}
	}
	write(true)
	write(false)
	return b.String()
}
