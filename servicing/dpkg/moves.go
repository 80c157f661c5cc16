// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package dpkg

import (
	"strings"
)

// Move is a configuration file that a package has at another path than before.
type Move struct {
	From, To string // relative to the root
	Before   string // the last version that may have it at From; "" for any
}

// Moves returns the configuration files that a maintainer script has dpkg-maintscript-helper move. The script is read
// as text: calls whose words are not written out are passed over.
func Moves(script string) (moves []Move) {
	script = strings.ReplaceAll(script, "\\\n", " ")
	for line := range strings.Lines(script) {
		_, call, is := strings.Cut(line, "dpkg-maintscript-helper mv_conffile ")
		if !is || strings.HasPrefix(strings.TrimSpace(line), "#") {
			continue
		}
		var words []string
		if end := strings.IndexAny(call, ";|&"); end >= 0 {
			call = call[:end]
		}
		for word := range strings.FieldsSeq(call) {
			if word == "--" {
				break
			}
			words = append(words, strings.Trim(word, `"'`))
		}
		if len(words) < 2 || strings.ContainsAny(strings.Join(words, ""), "$`") {
			continue
		}
		if !strings.HasPrefix(words[0], "/") || !strings.HasPrefix(words[1], "/") {
			continue
		}
		m := Move{From: strings.TrimPrefix(words[0], "/"), To: strings.TrimPrefix(words[1], "/")}
		if len(words) > 2 {
			m.Before = words[2]
		}
		moves = append(moves, m)
	}
	return moves
}
