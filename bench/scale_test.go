package main

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"arca/internal/apptest"
)

// A fill that is repeated changes nothing, and one that goes on adds what is missing.
func TestFillScale(t *testing.T) {
	s := apptest.New(t)
	_, addr, _ := strings.Cut(s.URL, "://")
	told := 0
	for _, part := range [][2]int{{0, 120}, {100, 200}} {
		if err := fillScale(t.Context(), scaleCaller(addr), 16, part[0], part[1], func(n int, _ float64) error {
			told = n
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	if told != 200 {
		t.Errorf("told of %d secrets, want 200", told)
	}
	client := s.Client()
	found := 0
	for p := secretsmanager.NewListSecretsPaginator(client, &secretsmanager.ListSecretsInput{}); p.HasMorePages(); {
		page, err := p.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		found += len(page.SecretList)
		for _, sec := range page.SecretList {
			if len(sec.Tags) != 3 || aws.ToString(sec.Description) == "" || len(sec.SecretVersionsToStages) != 2 {
				t.Errorf("%s has %d tags, description %q, %d versions", *sec.Name, len(sec.Tags), aws.ToString(sec.Description), len(sec.SecretVersionsToStages))
			}
		}
	}
	if found != 200 {
		t.Errorf("%d secrets, want 200", found)
	}
	for _, i := range []int{0, 3, 119, 199} {
		for version, stage := range []string{"AWSPREVIOUS", "AWSCURRENT"} {
			got, err := client.GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: aws.String(scaleName(i)), VersionStage: aws.String(stage)})
			if err != nil {
				t.Fatal(err)
			}
			if want := scaleValue(i, version+1); aws.ToString(got.SecretString) != want {
				t.Errorf("%s of %s = %q, want %q", stage, scaleName(i), aws.ToString(got.SecretString), want)
			}
		}
	}
}

// Every list is answered, and what its name says of how much it finds is so.
func TestListings(t *testing.T) {
	const size = 200
	s := apptest.New(t)
	_, addr, _ := strings.Cut(s.URL, "://")
	if err := fillScale(t.Context(), scaleCaller(addr), 16, 0, size, func(int, float64) error { return nil }); err != nil {
		t.Fatal(err)
	}
	server := &scaleServer{home: scaleHome{size: size}, at: addresses{api: addr}}
	if err := server.tagPilots(); err != nil {
		t.Fatal(err)
	}
	l, err := newLister(server)
	if err != nil {
		t.Fatal(err)
	}
	defer l.conn.Close()
	for _, row := range listings() {
		c, _, err := l.follow(row, "")
		if err != nil {
			t.Errorf("%s: %v", row.name, err)
			continue
		}
		low, high := 0, row.page
		switch {
		case strings.HasPrefix(row.name, nothing):
			high = 0
		case strings.Contains(row.name, "of ten"):
			low = 2 // of two names with the prefix
			high = 10
		case strings.HasPrefix(row.name, "all,"):
			low = row.page
		}
		if c.found < low || c.found > high {
			t.Errorf("%s finds %d, want from %d to %d", row.name, c.found, low, high)
		}
	}
}

// Values have the sizes, and filters the shares, that the comments name.
func TestScaleData(t *testing.T) {
	const n = 20_000
	sum, production, audited, longest := 0, 0, 0, 0
	names := make(map[string]bool)
	for i := range n {
		v := scaleValue(i, 1)
		if v != scaleValue(i, 1) || v == scaleValue(i, 2) {
			t.Fatalf("values of %d are not what their number says", i)
		}
		if len(v) < minScaleValue || len(v) > maxScaleValue {
			t.Fatalf("value of %d bytes", len(v))
		}
		sum += len(v)
		longest = max(longest, len(v))
		names[scaleName(i)] = true
		for _, tag := range scaleTags(i) {
			if tag.Value == "production" {
				production++
			}
			if tag.Key == "audited" {
				audited++
			}
		}
	}
	if mean := sum / n; mean < 250 || mean > 280 || longest != maxScaleValue {
		t.Errorf("values of %d bytes on average, %d at most", mean, longest)
	}
	if len(names) != n || production < n*32/100 || production > n*35/100 || audited < n/110 || audited > n/90 {
		t.Errorf("%d names, %d in production, %d audited, of %d", len(names), production, audited, n)
	}
	for _, size := range []int{200, 1000, 100_000, 500_000} {
		distinct := make(map[int]bool)
		for _, i := range pilots(size) {
			distinct[i] = i < size
		}
		if len(distinct) != 10 {
			t.Errorf("pilots(%d) = %v, want ten", size, pilots(size))
		}
	}
}

func TestParseSizes(t *testing.T) {
	for _, test := range []struct {
		text string
		want []int
	}{
		{"1000", []int{1000}},
		{"1000,500000", []int{1000, 500000}},
		{"", nil},
		{"1000,1000", nil},
		{"2,1", nil},
		{"0", nil},
		{"1,x", nil},
	} {
		got, err := parseSizes(test.text)
		if (err == nil) != (test.want != nil) || err == nil && !cmp.Equal(got, test.want) {
			t.Errorf("parseSizes(%q) = %v, %v, want %v", test.text, got, err, test.want)
		}
	}
}

func TestScaleReport(t *testing.T) {
	ms := func(n ...int) (all []time.Duration) {
		for _, v := range n {
			all = append(all, time.Duration(v)*time.Millisecond)
		}
		return all
	}
	back := comeback{stop: time.Second, read: 6 * time.Second, ready: 7 * time.Second, list: 8 * time.Second}
	run := &scaleRun{
		size: 500_000, base: 1000, connections: 64,
		reads:      [2]result{{rates: []float64{100, 100}, times: ms(1, 2)}, {rates: []float64{95, 91}, times: ms(1, 2)}},
		firstReads: [2]result{{rates: []float64{100, 110}, times: ms(1, 2)}, {rates: []float64{80, 77}, times: ms(1, 2)}},
		lists: []*listResult{
			{name: "all", times: [2][]time.Duration{ms(1), ms(3)}, cpus: [2][]time.Duration{ms(1), ms(2)}},
			{name: nothing + "x", times: [2][]time.Duration{ms(1), ms(90)}, cpus: [2][]time.Duration{ms(1), ms(90)}},
		},
		memory:  [2]memory{{}, {started: 3_500_000_000, worked: 3_600_000_000, highest: 4_100_000_000}},
		stopped: []comeback{back}, killed: []comeback{back},
	}
	got := run.String()
	for _, want := range []string{
		"| 93 and 100: 0.93 | 0.90 | met |", "first reads/s since the start, of every secret | 78 and 105: 0.75 |", "largest ratio of p50 | 3.00 | 2 | **missed** |", "longest p50 of a whole list | 90.0 ms | 100ms | met |",
		"3.50 GB (0.00 GB) | 4 GB, better 3 | met |", "| 4.10 GB | 4 GB | **missed** |", "reads by name | 6.0 s | 5s | **missed** |",
		"lists included | 8.0 s | 15s | met |", "1 of 2 lists miss their aim", "| all | 1.00 ms | 3.00 ms | 3.00 | 2.00 |",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("the report lacks %q:\n%s", want, got)
		}
	}
}

// A fill stops when it cannot remember how far it came.
func TestFillScaleStops(t *testing.T) {
	s := apptest.New(t)
	_, addr, _ := strings.Cut(s.URL, "://")
	err := fillScale(t.Context(), scaleCaller(addr), 4, 0, 10, func(int, float64) error { return context.DeadlineExceeded })
	if err != context.DeadlineExceeded {
		t.Errorf("fillScale = %v", err)
	}
}
