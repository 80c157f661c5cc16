// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package servicing_test

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/molt-snapshotter/molt-snapshotter/servicing"
)

// TestEncode: a report and an audit that are written piece by piece are what json.Marshal makes of them.
func TestEncode(t *testing.T) {
	report := &servicing.Report{
		Version: 1, Counts: map[servicing.Verdict]int{servicing.Keep: 2},
		Paths:   []servicing.PathReport{{Path: "a<b\u202e", PathBytes: []byte("\xff")}, {Path: "b", Hidden: []servicing.Fix{{Package: "p", Version: "1"}}}},
		Effects: []servicing.EffectReport{}, Packages: []servicing.PackageReport{{Name: "p"}}, Forced: true,
		Holds: []servicing.Reason{{Message: "x"}}, Withheld: []servicing.Withheld{{Path: "w"}}, Waiting: []servicing.Waiting{{Package: "w"}},
	}
	audit := &servicing.AuditReport{Version: 1, Packages: []servicing.AuditPackage{}, Paths: []servicing.AuditPath{{Path: "a"}}, Fixes: 1}
	for name, c := range map[string]struct {
		value  any
		encode func(*strings.Builder) error
	}{
		"report":       {report, func(b *strings.Builder) error { return report.Encode(b) }},
		"empty report": {&servicing.Report{}, func(b *strings.Builder) error { return new(servicing.Report).Encode(b) }},
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
	fields := reflect.TypeFor[servicing.Report]()
	for i, name := range []string{"Paths", "Effects"} {
		if got := fields.Field(fields.NumField() - 2 + i).Name; got != name {
			t.Errorf("%s comes where %s should", got, name)
		}
	}
}
