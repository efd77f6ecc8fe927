package main

import "time"

// aim is what a ratio should reach: that of Arca to somebody else in a row, or to its own
// rate in another row.
type aim struct {
	row, contender string
	value          float64
	most           bool
}

// aims are those of the product: what Arca promises of its speed. Half-load ones are of
// the 99th percentile, all others of rates.
func aims() []aim {
	return []aim{
		{row: getRow, contender: syncedName, value: 0.75},
		{row: getRow + halfLoad, contender: syncedName, value: 3, most: true},
		{row: putRow, contender: etcdName, value: 0.75},
		{row: getRow, contender: "openbao", value: 6},
		{row: putRow, contender: "openbao", value: 4},
		{row: getRow, contender: "vault", value: 6},
		{row: putRow, contender: "vault", value: 4},
		{row: decryptRow, contender: getRow, value: 0.80},
		{row: dataKeyRow, contender: getRow, value: 0.80},
	}
}

func aimOf(row, contender string) aim {
	for _, a := range aims() {
		if a.row == row && a.contender == contender {
			return a
		}
	}
	return aim{}
}

// ratios compares Arca with everybody else in its row.
func ratios(list, halves []*series) []recordedRatio {
	var out []recordedRatio
	arca := make(map[string]*series)
	for _, s := range append(list[:len(list):len(list)], halves...) {
		if s.contender == arcaName {
			arca[s.row] = s
		}
	}
	add := func(what string, s *series, each []float64) {
		out = append(out, newRatio(s.row+what+" / "+s.contender, s.row, s.contender, each, aimOf(s.row, s.contender)))
	}
	for _, s := range list {
		if a := arca[s.row]; a != nil && a != s {
			add("", s, perRound(a.rates, s.rates))
		}
	}
	// What a use of a key takes beside a read of a secret.
	if get := arca[getRow]; get != nil {
		for _, name := range []string{decryptRow, dataKeyRow} {
			if a := arca[name]; a != nil {
				each, aim := perRound(a.rates, get.rates), aimOf(name, getRow)
				out = append(out, newRatio(name+" / "+getRow, name, getRow, each, aim))
			}
		}
	}
	for _, s := range halves {
		if a := arca[s.row]; a != nil && a != s {
			add(", p99", s, perRound(asSeconds(a.p99s), asSeconds(s.p99s)))
		}
	}
	return out
}

func newRatio(name, row, contender string, each []float64, a aim) recordedRatio {
	return recordedRatio{
		Name: name, Row: row, Contender: contender,
		Value: digits(median(each)), Deviation: digits(deviation(each)), Rounds: allDigits(each), Aim: a.value, Most: a.most,
	}
}

func asSeconds(list []time.Duration) []float64 {
	out := make([]float64, len(list))
	for i, d := range list {
		out[i] = d.Seconds()
	}
	return out
}
