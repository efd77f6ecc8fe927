package runner

import (
	"bytes"
	"os"
	"strconv"
	"strings"
)

// descendants are the processes that pid started and those they started, as far as the
// kernel shows them at this moment, but no more than most: some processes start others
// faster than anybody can count.
func descendants(pid, most int) []int {
	all := children(pid)
	for i := 0; i < len(all) && len(all) < most; i++ {
		all = append(all, children(all[i])...)
	}
	return all[:min(len(all), most)]
}

// children are the processes that some thread of pid started or adopted.
func children(pid int) []int {
	dir := "/proc/" + strconv.Itoa(pid) + "/task"
	threads, err := os.ReadDir(dir)
	if err != nil {
		return nil // it has ended
	}
	var out []int
	for _, t := range threads {
		text, err := os.ReadFile(dir + "/" + t.Name() + "/children")
		if err != nil {
			continue
		}
		for word := range strings.FieldsSeq(string(text)) {
			if n, err := strconv.Atoi(word); err == nil {
				out = append(out, n)
			}
		}
	}
	return out
}

// memory is what one process has.
type memory struct {
	usedKB  int64 // without files that are mapped
	peakKB  int64
	threads int
}

func memoryOf(pid int) (m memory) {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return m
	}
	m.usedKB = field(text, "RssAnon:") + field(text, "RssShmem:") + field(text, "VmSwap:")
	m.peakKB = field(text, "VmHWM:")
	m.threads = int(field(text, "Threads:"))
	return m
}

// exactMemory is what processes have together, with what they share counted once.
func exactMemory(pids []int) (kb int64) {
	for _, pid := range pids {
		text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/smaps_rollup")
		if err != nil {
			// A process that hides its memory is counted in full.
			kb += memoryOf(pid).usedKB
			continue
		}
		kb += field(text, "Pss_Anon:") + field(text, "Pss_Shmem:") + field(text, "SwapPss:")
	}
	return kb
}

// field is the number behind a name in a file of /proc; 0 without one.
func field(text []byte, name string) int64 {
	_, rest, ok := bytes.Cut(text, []byte("\n"+name))
	if !ok {
		return 0
	}
	words := bytes.Fields(rest[:min(len(rest), 64)])
	if len(words) == 0 {
		return 0
	}
	n, err := strconv.ParseInt(string(words[0]), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// tasksOf counts the processes and threads of a user id.
func tasksOf(uid int) (n int) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return 0
	}
	for _, e := range entries {
		if _, err := strconv.Atoi(e.Name()); err != nil {
			continue
		}
		if text, err := os.ReadFile("/proc/" + e.Name() + "/status"); err == nil && int(field(text, "Uid:")) == uid {
			n += int(field(text, "Threads:"))
		}
	}
	return n
}
