function Format-CsbSize {
    param([double] $Bytes)
    $units = 'B', 'kB', 'MB', 'GB', 'TB'
    $unit = 0
    while ($Bytes -ge 1000 -and $unit -lt 4) {
        $Bytes /= 1000
        $unit++
    }
    if ($unit -eq 0) { return ('{0:N0} {1}' -f $Bytes, $units[0]) }
    '{0:N1} {1}' -f $Bytes, $units[$unit]
}

function Format-CsbStep {
    param($Step)
    $text = [string] (Get-CsbField $Step 'title' '')
    $touches = @(Get-CsbField $Step 'touches' @())
    if ($touches.Count) { $text = Get-CsbText 'StepTouches' $text, ($touches -join ', ') }
    $items = Get-CsbField $Step 'items'
    $bytes = Get-CsbField $Step 'bytes'
    $key = 'StepItems'
    if (Get-CsbField $Step 'itemsEstimated' $false) { $key = 'StepItemsAtLeast' }
    if ($null -ne $items) { $text += ', ' + (Get-CsbText $key $items -Count $items) }
    if ($null -ne $bytes) { $text += ', ' + (Format-CsbSize $bytes) }
    $note = [string] (Get-CsbField $Step 'note' '')
    if ($note) { $text += '. ' + $note }
    $refused = [string] (Get-CsbField $Step 'refused' '')
    if ($refused) { $text += '; ' + (Get-CsbText 'StepRefused' $refused) }
    $text
}

# What a module changed, or would change: a line for each kind, with the first names. What comes back is named by its step's note already.
function Format-CsbChange {
    param($Module, [int] $Names = 10)
    foreach ($changes in @(Get-CsbField $Module 'changes' @())) {
        if ([string] $changes.kind -eq 'givenBack') { continue }
        $total = Get-CsbField $changes 'items' 0
        $first = @(Get-CsbField $changes 'first' @() | Select-Object -First $Names)
        $shown = foreach ($change in $first) {
            $before = [string] (Get-CsbField $change 'from' '')
            if ($before) { Get-CsbText 'ChangeRenamed' $before, $change.item } else { [string] $change.item }
        }
        $text = '{0}: {1}' -f (Get-CsbText ('Change-' + $changes.kind)), (@($shown) -join ', ')
        if ($total -gt $first.Count) { $text = Get-CsbText 'ChangesMore' $text, ($total - $first.Count) }
        $text
    }
}
