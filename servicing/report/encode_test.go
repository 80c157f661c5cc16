// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package report_test

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/report"
)

// TestEncode: a report and an audit that are written piece by piece are what json.Marshal makes of them.
func TestEncode(t *testing.T) {
	r := &report.Report{
		Version: 1, Counts: map[report.Verdict]int{report.Keep: 2},
		Paths:   []report.PathReport{{Path: "a<b\u202e", PathBytes: []byte("\xff")}, {Path: "b", Hidden: []report.Fix{{Package: "p", Version: "1"}}}},
		Effects: []report.EffectReport{}, Packages: []report.PackageReport{{Name: "p"}}, Forced: true,
		Holds: []report.Reason{{Message: "x"}}, Withheld: []report.Withheld{{Path: "w"}}, Waiting: []report.Waiting{{Package: "w"}},
	}
	audit := &report.AuditReport{Version: 1, Packages: []report.AuditPackage{}, Paths: []report.AuditPath{{Path: "a"}}, Fixes: 1}
	for name, c := range map[string]struct {
		value  any
		encode func(*strings.Builder) error
	}{
		"report":       {r, func(b *strings.Builder) error { return r.Encode(b) }},
		"empty report": {&report.Report{}, func(b *strings.Builder) error { return new(report.Report).Encode(b) }},
		"audit":        {audit, func(b *strings.Builder) error { return audit.Encode(b) }},
	} {
		t.Run(name, func(t *testing.T) {
			want, err := json.Marshal(c.value)
			if err != nil {
				t.Fatal(err)
			}
			var got strings.Builder
			if err := c.encode(&got); err != nil {
				t.Fatal(err)
			}
			if got.String() != string(want) {
				t.Errorf("got\n%s\nwant\n%s", &got, want)
			}
		})
	}
	// Who reads a report as it comes knows the rest by the time of the paths.
	fields := reflect.TypeFor[report.Report]()
	for i, name := range []string{"Paths", "Effects"} {
		if got := fields.Field(fields.NumField() - 2 + i).Name; got != name {
			t.Errorf("%s comes where %s should", got, name)
		}
	}
}
