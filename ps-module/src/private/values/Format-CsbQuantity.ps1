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
    if ($null -ne $items) { $text += ', ' + (Get-CsbText $key $items) }
    if ($null -ne $bytes) { $text += ', ' + (Format-CsbSize $bytes) }
    $note = [string] (Get-CsbField $Step 'note' '')
    if ($note) { $text += '. ' + $note }
    $refused = [string] (Get-CsbField $Step 'refused' '')
    if ($refused) { $text += '; ' + (Get-CsbText 'StepRefused' $refused) }
    $text
}
