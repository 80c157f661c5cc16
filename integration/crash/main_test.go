// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

// Package crash_test has a snapshotter die at every moment of a life in which everything happens that changes what is on disk,
// and looks whether anything is lost. See TestCrash.
package crash_test

import (
	"flag"
	"fmt"
	"os"
	"testing"
)

func TestMain(m *testing.M) {
	if err := asVictim(); err != nil {
		fmt.Fprintln(os.Stderr, "victim:", err)
		os.Exit(1)
	}
	flag.Parse()
	os.Exit(m.Run())
}

// asVictim does not return in a process that is a victim, except with an error.
func asVictim() error {
	if os.Getenv(filterVariable) != "" {
		return beFiltered()
	}
	text := os.Getenv(orderVariable)
	if text == "" {
		return nil
	}
	if err := beVictim(text); err != nil {
		return err
	}
	os.Exit(0)
	return nil
}
