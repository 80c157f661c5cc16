// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package clock

import "time"

// Now is the time as it is recorded.
func Now() time.Time { return time.Now().UTC() }
